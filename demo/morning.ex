defmodule ElectricShapeDb.Demo.Morning do
  @moduledoc """
  The morning after a redeploy: many processes create shapes in the second VM while
  others look shapes up. Watched from here, with a line that says how far it is,
  and a table in the end.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  alias ElectricShapeDb.Demo.Progress
  alias ElectricShapeDb.Demo.VM
  alias ElectricShapeDb.Demo.Words

  @open_timeout 60_000
  @timeout 300_000

  @type results :: %{atom() => term()}

  @doc "Lets the second VM open the store, which has `shapes` shapes; gives the time in µs."
  @spec open!(VM.t(), Path.t(), pos_integer()) :: non_neg_integer()
  def open!(vm, storage_dir, shapes) do
    VM.tell(vm, {:open, storage_dir})

    case VM.hear!(vm, @open_timeout) do
      {:told, {:opened, ^shapes, microseconds}} -> microseconds
      {:told, {:opened, count, _}} -> fail!("the second VM found #{count} shapes, not #{shapes}")
      :timeout -> fail!("the second VM had not opened the store after #{@open_timeout} ms")
    end
  end

  @doc "Plays it; gives its figures."
  @spec play!(VM.t(), pos_integer(), pos_integer(), pos_integer()) :: results()
  def play!(vm, adders, shapes, lookers) do
    VM.tell(vm, {:morning, adders, shapes, lookers})
    watch(vm, Progress.new(), System.monotonic_time(:millisecond) + @timeout)
  end

  defp watch(vm, progress, until) do
    case VM.hear!(vm, max(until - System.monotonic_time(:millisecond), 0)) do
      {:told, {:progress, added, found}} ->
        line = "   #{Words.count(added)} created, #{Words.count(found)} looked up and found"
        watch(vm, Progress.show(progress, line), until)

      {:told, {:morning, results}} ->
        Progress.clear(progress)
        results

      :timeout ->
        Progress.clear(progress)
        fail!("the morning was not over after #{@timeout} ms")
    end
  end

  @doc "Shows its figures; `adders` is how many processes added."
  @spec show(results(), pos_integer()) :: :ok
  def show(%{adds: adds, lookups: lookups, alone: alone} = results, adders) do
    Words.table([
      ["", "per second", "p50", "p99", ""],
      ["adds" | figures(adds)] ++ [""],
      ["lookups meanwhile" | figures(lookups)] ++ [""],
      ["lookups alone, after it" | figures(alone)] ++ ["(the lookups_per_s of the last line)"],
      ["adds by one process, after it" | figures(results.adds_alone)] ++ [""]
    ])

    IO.puts("""
       The p99 of adds is that of waiting for a turn: #{adders} processes add without a pause, and
       one whose timeslice ends in an add waits for the others of its core. One alone does not.
       all on disk #{Words.decimal(results.on_disk_ms, 0)} ms after the last add
       file: #{Words.megabytes(results.bytes)} for #{Words.count(results.shapes)} shapes, \
    #{Words.count(bytes_per_shape(results))} bytes each\
    """)
  end

  @spec bytes_per_shape(results()) :: float()
  def bytes_per_shape(%{bytes: bytes, shapes: shapes}), do: bytes / shapes

  defp figures(%{per_s: per_s, p50: p50, p99: p99}) do
    [Words.count(per_s), Words.microseconds(p50), Words.microseconds(p99)]
  end
end
