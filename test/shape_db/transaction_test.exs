defmodule ElectricShapeDb.TransactionTest do
  @moduledoc "What a write checkout commits and what it takes back."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder

  setup :start_store!

  setup %{stack_id: stack_id} do
    tamper!(stack_id, ["CREATE TABLE notes (n)"])
  end

  test "ends in a commit for :ok and {:ok, _}", %{stack_id: stack_id} do
    assert insert(stack_id, 1, fn -> :ok end) == :ok
    assert insert(stack_id, 2, fn -> {:ok, :done} end) == {:ok, :done}
    assert notes(stack_id) == [1, 2]
  end

  test "ends in a rollback for every other result", %{stack_id: stack_id} do
    for result <- [:error, {:error, :why}, nil, {:ok, 1, 2}, 42] do
      assert insert(stack_id, 1, fn -> result end) == result
    end

    assert notes(stack_id) == []
  end

  test "ends in a rollback for a raise, a throw and an exit", %{stack_id: stack_id} do
    assert_raise RuntimeError, "boom", fn -> insert(stack_id, 1, fn -> raise "boom" end) end
    assert catch_throw(insert(stack_id, 1, fn -> throw(:ball) end)) == :ball
    assert catch_exit(insert(stack_id, 1, fn -> exit(:out) end)) == :out
    assert notes(stack_id) == []
    assert insert(stack_id, 2, fn -> :ok end) == :ok
  end

  test "a failing rollback does not hide the exception", %{stack_id: stack_id} do
    assert_raise RuntimeError, "boom", fn ->
      Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
        :ok = Connection.execute(conn, "ROLLBACK")
        raise "boom"
      end)
    end

    assert insert(stack_id, 1, fn -> :ok end) == :ok
    assert notes(stack_id) == [1]
  end

  test "is immediate: nobody else writes meanwhile", %{stack_id: stack_id} do
    holder = Holder.hold!(stack_id, :write)
    add!(stack_id, shape(1), handle(1))
    assert stored_handles(stack_id) == []
    assert {:timeout, _} = catch_exit(WriteBuffer.flush_sync(stack_id, 30))
    Holder.release!(holder)
    flush!(stack_id)
    assert stored_handles(stack_id) == [handle(1)]
  end

  test "is not seen by readers before its commit", %{stack_id: stack_id} do
    holder = Holder.hold!(stack_id, :write, &insert_row(&1, 1))
    assert notes(stack_id) == []
    Holder.release!(holder)
    assert notes(stack_id) == [1]
  end

  test "is taken back when its process dies, and the writer goes on", %{stack_id: stack_id} do
    holder = Holder.hold!(stack_id, :write, &insert_row(&1, 1))
    add!(stack_id, shape(1), handle(1))
    Holder.kill!(holder)
    flush!(stack_id)
    assert notes(stack_id) == []
    assert stored_handles(stack_id) == [handle(1)]
    assert insert(stack_id, 2, fn -> :ok end) == :ok
  end

  defp insert(stack_id, n, finish) do
    Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
      insert_row(conn, n)
      finish.()
    end)
  end

  defp insert_row(conn, n), do: :ok = Connection.execute(conn, "INSERT INTO notes VALUES (#{n})")

  defp notes(stack_id), do: stack_id |> rows("SELECT n FROM notes ORDER BY n") |> List.flatten()
end
