defmodule ElectricShapeDb.Demo do
  @moduledoc """
  The store's main job, watched: it takes over a file of the service it is made
  for, plays the morning after a redeploy, and is killed in the middle of a second
  wave, to see what was promised and what was kept.

  Two VMs take part: this one watches, the other does the work and is killed.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias ElectricShapeDb.Demo.Failure
  alias ElectricShapeDb.Demo.Fixture
  alias ElectricShapeDb.Demo.Folder
  alias ElectricShapeDb.Demo.Morning
  alias ElectricShapeDb.Demo.SecondWave
  alias ElectricShapeDb.Demo.Shapes
  alias ElectricShapeDb.Demo.Store
  alias ElectricShapeDb.Demo.Verdict
  alias ElectricShapeDb.Demo.VM
  alias ElectricShapeDb.Demo.Words

  @adders 100
  @lookers 16
  @shapes 20_000

  @doc """
  Runs it, in a new folder in the one given as the only argument, if any. Gives the
  exit code: 0 when every promise was kept.
  """
  @spec run([String.t()]) :: 0 | 1
  def run(arguments) do
    {:ok, _apps} = Application.ensure_all_started(:electric_shape_db)
    # A warning of the store would be news; its reports of progress are not.
    Logger.configure(level: :warning)
    folder = Folder.make!(arguments)
    say("Shapes in a Rust store, copied to SQLite in #{folder.path}")
    run_in(folder)
  rescue
    failure in Failure ->
      IO.puts(:stderr, "\nThe demo could not go on: #{failure.message}")
      1
  end

  defp run_in(folder) do
    real = take_over(storage(folder))
    vm = VM.start!(Path.join(folder.path, "second-vm.log"))

    try do
      morning = morning(vm, storage(folder), real)
      wave = second_wave(vm)
      {verdicts, all_kept?} = reopen(storage(folder), real, wave)
      say(leave(folder, all_kept?))
      say(last_line(morning, verdicts))
      if all_kept?, do: 0, else: 1
    after
      VM.stop(vm)
    end
  end

  defp take_over(storage_dir) do
    say("\n1. Taking over a file that the service in production wrote")
    count = Fixture.count!()
    :ok = Fixture.unpack!(storage_dir)
    {holder, microseconds} = Store.start!(storage_dir)
    listed = ShapeDb.list_shapes!(Store.stack_id())
    :ok = Shapes.keep(listed)
    Store.stop!(holder)

    if length(listed) != count do
      fail!("#{length(listed)} of the #{count} shapes of the file were taken over")
    end

    say("   #{count} of #{count} shapes taken over in #{Words.microseconds(microseconds)}")
    count
  end

  defp morning(vm, storage_dir, real) do
    say("""

    2. The morning after a redeploy, in a second VM: #{@adders} processes create \
    #{Words.count(@shapes)} shapes
       made from those #{real}, while #{@lookers} look shapes up; #{cores()} in all\
    """)

    microseconds = Morning.open!(vm, storage_dir, real)
    say("   #{real} shapes there again #{Words.microseconds(microseconds)} after the start")
    results = Morning.play!(vm, @adders, @shapes, @lookers)

    if results.shapes != real + @shapes do
      fail!("the store counts #{results.shapes} shapes, not #{real + @shapes}")
    end

    Morning.show(results, @adders)
    results
  end

  defp second_wave(vm) do
    say("""

    3. A second wave: half of the processes add with durability :buffered, a quarter with
       :sync, a quarter with {:sync, 50}; then the second VM is killed\
    """)

    wave = SecondWave.cut_short!(vm, @adders)

    say(
      "   kill -9 after #{wave.milliseconds} ms, with " <>
        "#{Words.count(length(wave.acknowledged))} shapes acknowledged"
    )

    wave
  end

  defp reopen(storage_dir, real, wave) do
    {holder, microseconds} = Store.start!(storage_dir)

    there =
      ShapeDb.reduce_shapes(Store.stack_id(), %{}, fn {handle, shape}, there ->
        Map.put(there, handle, :erlang.phash2(shape))
      end)

    Store.stop!(holder)
    say("   opened again in #{Words.microseconds(microseconds)}; what is there:")

    verdicts = Verdict.all(wave.acknowledged, there)
    Words.table([Verdict.heading() | Enum.map(verdicts, &Verdict.row/1)])

    # All but the real ones have numbers.
    morning = Enum.count(0..(@shapes - 1), &Verdict.there?(&1, there))
    found = Enum.sum(Enum.map(verdicts, & &1.found))
    others = map_size(there) - real - morning - found

    say("   of the morning's #{Words.count(@shapes)}: #{Words.count(morning)} there")
    say("   added but not acknowledged when the VM was killed: #{Words.count(others)} there")
    {verdicts, morning == @shapes and others >= 0 and Enum.all?(verdicts, & &1.kept?)}
  end

  defp leave(folder, all_kept?) do
    kept = if all_kept?, do: "Every promise was kept.", else: "A PROMISE WAS BROKEN."
    # What is broken is to be looked at.
    folder = if all_kept?, do: folder, else: %{folder | kept?: true}

    case Folder.leave(folder) do
      nil -> "\n#{kept}\n"
      path -> "\n#{kept} The files are in #{path}\n"
    end
  end

  defp last_line(morning, verdicts) do
    sum = fn key -> verdicts |> Enum.map(&Map.fetch!(&1, key)) |> Enum.sum() end

    "demo: adds_per_s=#{round(morning.adds.per_s)} lookups_per_s=#{round(morning.alone.per_s)} " <>
      "on_disk_ms=#{round(morning.on_disk_ms)} " <>
      "bytes_per_shape=#{round(Morning.bytes_per_shape(morning))} " <>
      "acknowledged=#{sum.(:acknowledged)} found=#{sum.(:found)} lost=#{sum.(:lost)}"
  end

  defp cores do
    case System.schedulers_online() do
      1 -> "1 core"
      n -> "#{n} cores"
    end
  end

  defp storage(folder), do: Path.join(folder.path, "storage")
  defp say(line), do: IO.puts(line)
end
