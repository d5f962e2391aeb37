defmodule ElectricShapeDb.CheckoutStormTest do
  @moduledoc """
  200 processes fight over 2 read connections while a third of them is killed.
  `STORM_SECONDS=10` for the long form. Not async: it watches all schedulers.
  """

  use ElectricShapeDb.StoreCase, async: false

  @seconds String.to_integer(System.get_env("STORM_SECONDS", "1"))
  @fighters 200

  @tag timeout: :infinity
  test "no connection is lost and no scheduler blocked", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 2, connection_idle_timeout: 50)
    add_samples!(stack_id, 1..100)
    flush!(stack_id)
    watch_schedulers(20)

    deadline = System.monotonic_time(:millisecond) + @seconds * 1_000
    fighters = for _ <- 1..@fighters, do: spawn_monitor(fn -> fight(stack_id, deadline) end)
    {victims, survivors} = Enum.split(fighters, div(@fighters, 3))

    for {victim, _} <- victims do
      receive after: (:rand.uniform(max(div(@seconds * 2_000, @fighters), 1)) -> :ok)
      Process.exit(victim, :kill)
    end

    for {_, monitor} <- survivors do
      assert_receive {:DOWN, ^monitor, :process, _, :normal}, (@seconds + 10) * 1_000
    end

    assert Connection.checkout!(stack_id, :test, fn _ -> :ok end) == :ok
    eventually(fn -> match?({:ok, %{connections: 0}}, ShapeDb.statistics(stack_id)) end)
    assert long_schedules_of_ours() == []
  end

  defp fight(stack_id, deadline) do
    Connection.checkout!(stack_id, :storm, fn %{conn: conn} ->
      {:ok, [100]} = Connection.fetch_one(conn, "SELECT count(*) FROM shapes", [])
    end)

    if System.monotonic_time(:millisecond) < deadline, do: fight(stack_id, deadline)
  end

  defp watch_schedulers(milliseconds) do
    before = :erlang.system_monitor(self(), [{:long_schedule, milliseconds}])
    on_exit(fn -> :erlang.system_monitor(before) end)
  end

  # A long schedule counts when it began or ended in our modules.
  defp long_schedules_of_ours(found \\ []) do
    receive do
      {:monitor, _pid, :long_schedule, info} ->
        places = for key <- [:in, :out], {module, _, _} <- [info[key]], do: inspect(module)
        ours? = Enum.any?(places, &String.contains?(&1, "ShapeDb.Internal.Native"))
        long_schedules_of_ours(if(ours?, do: [info | found], else: found))
    after
      0 -> found
    end
  end
end
