defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Text do
  @moduledoc false
  # Answers for people.

  @type section :: atom()

  @doc "An answer as lines."
  @spec render(atom(), {:ok, map()} | {:error, String.t()}) :: IO.chardata()
  def render(_name, {:error, reason}), do: colour(:red, "error: #{reason}")
  def render(name, {:ok, data}), do: data |> lines(name) |> Enum.intersperse("\n")

  defp lines(%{stacks: []}, :stacks), do: ["no stack runs here"]

  defp lines(%{stacks: stacks}, :stacks) do
    table(
      ["stack", "role", "since", "shapes", "pending", "file"],
      for s <- stacks do
        [s.stack_id, s.role, s.since, number(s.shapes), s.pending, s.path || "in memory"]
      end
    )
  end

  defp lines(info, :info) do
    head = [
      {"stack", info.stack_id || "none that runs here"},
      {"role", role(info)},
      {"since", info[:since]},
      {"file", info.path || "in memory"},
      {"size", bytes(info.bytes) <> ", log " <> bytes(info.log_bytes)},
      {"closed before", info[:found_clean] && "in order"},
      {"epoch", info[:epoch]}
    ]

    beside =
      for {kind, files} <- info.beside, file <- files do
        {"beside it", "#{Path.basename(file.path)}, #{bytes(file.bytes)} (#{words(kind)})"}
      end

    options = for {name, value} <- info[:options] || [], do: {name, Kernel.inspect(value)}
    pairs(head ++ beside) ++ pairs(options)
  end

  defp lines(health, :health) do
    of = health.stack_id || health.path

    [[verdict(health.verdict), "  ", of, "  ", role(health)]] ++
      for reason <- health.reasons do
        ["  ", level(reason.level), " ", Atom.to_string(reason.code), ": ", reason.text]
      end
  end

  defp lines(found, :inspect) do
    label = found.label || %{}

    pairs([
      {"file", found.path},
      {"schema", found.version},
      {"size", "#{bytes(found.bytes)}, log #{bytes(found.log_bytes)}"},
      {"pages", "#{found.pages} of #{bytes(found.page_size)}, #{found.free_pages} free"},
      {"stack", label[:stack]},
      {"epoch", label[:epoch]},
      {"closed", label[:clean] && "in order"},
      {"shapes", number(found.shapes)},
      {"snapshots", "#{found.complete} complete, #{found.started} started"},
      {"definitions", "#{bytes(found.body_bytes)}, the largest #{bytes(found.largest_body)}"},
      {"tables", "#{length(found.tables)}, read #{number(found.relations)} times"}
    ]) ++
      table(
        ["oid", "shapes"],
        for({oid, count} <- Enum.take(found.tables, 10), do: [oid, number(count)])
      ) ++
      table(
        ["handle", "table", "snapshot", "bytes", "where"],
        for s <- found.samples do
          where = if s.where, do: String.slice(s.where, 0, 80), else: "-"
          [handle(s.handle), s.table || "-", s.snapshot, s.bytes, where]
        end
      ) ++
      pairs(found.columns)
  end

  defp lines(%{sound: true} = found, :check) do
    [colour(:green, "sound"), "  #{number(found.shapes)} shapes of #{found.path}", host(found)]
  end

  defp lines(found, :check) do
    [colour(:red, "damaged"), "  #{number(found.shapes)} shapes of #{found.path}"] ++
      Enum.map(found.sqlite, &["  SQLite: ", &1]) ++
      for p <- found.problems do
        "  #{p.count} × #{p.kind} #{Enum.map_join(p.examples, ", ", &handle/1)}"
      end ++ [host(found)]
  end

  defp lines(done, name) when name in [:backup, :restore, :move] do
    [
      "#{number(done.shapes)} shapes, #{bytes(done.bytes)}",
      "  from #{done.from}",
      "  to   #{done.to}"
    ] ++ kept(done)
  end

  defp lines(done, :export) do
    ["#{number(done.shapes)} shapes, in schema 4", "  from #{done.from}", "  to   #{done.to}"] ++
      missing(done.left_out, "left out, as they are damaged") ++
      missing(done.unreadable_ids, "row ids that cannot be read, each of a shape or of none")
  end

  defp lines(done, name) when name in [:salvage, :repair] do
    counts = Map.drop(done, [:from, :to, :kept])
    ["from #{done.from}", "to   #{done.to}"] ++ pairs(Enum.sort(counts)) ++ kept(done)
  end

  defp missing(0, _what), do: []
  defp missing(count, what), do: [colour(:yellow, "  #{number(count)} #{what}")]

  defp kept(%{kept: kept}) when is_binary(kept), do: ["  what was there is #{kept}"]
  defp kept(_done), do: []

  defp host(%{host_asked: true}), do: "  definitions were read by the host's module"
  defp host(_found), do: "  the host's module is not loaded: definitions were not read"

  defp role(%{holder: holder}) when is_binary(holder), do: "in use by #{holder}"
  defp role(%{role: role}), do: Atom.to_string(role)

  defp words(kind), do: kind |> Atom.to_string() |> String.replace("_", " ")

  @doc "A verdict in its colour."
  @spec verdict(atom()) :: IO.chardata()
  def verdict(:ok), do: colour(:green, "ok")
  def verdict(:degraded), do: colour(:yellow, "degraded")
  def verdict(:failing), do: colour(:red, "failing")

  defp level(:note), do: "note"
  defp level(level), do: verdict(level)

  defp colour(colour, text), do: IO.ANSI.format([colour, text])

  @doc "Names and values, those without a value left out."
  @spec pairs([{term(), term()}]) :: [IO.chardata()]
  def pairs(pairs) do
    pairs = for {name, value} <- pairs, value not in [nil, false, ""], do: {"#{name}", "#{value}"}
    width = pairs |> Enum.map(&String.length(elem(&1, 0))) |> Enum.max(fn -> 0 end)
    for {name, value} <- pairs, do: ["  ", String.pad_trailing(name, width + 2), value]
  end

  defp table(_head, []), do: []

  defp table(head, rows) do
    rows = [head | rows] |> Enum.map(fn row -> Enum.map(row, &"#{&1}") end)
    columns = rows |> Enum.zip() |> Enum.map(&Tuple.to_list/1)
    widths = for column <- columns, do: column |> Enum.map(&String.length/1) |> Enum.max()

    for row <- rows do
      cells =
        row
        |> Enum.zip(widths)
        |> Enum.map_join("  ", &String.pad_trailing(elem(&1, 0), elem(&1, 1)))

      ["  ", String.trim_trailing(cells)]
    end
  end

  # Those of a damaged file need not be text.
  defp handle(handle), do: if(String.printable?(handle), do: handle, else: Kernel.inspect(handle))

  @doc "A number of bytes, as people read it."
  @spec bytes(non_neg_integer()) :: String.t()
  def bytes(bytes) when bytes < 1024, do: "#{bytes} B"
  def bytes(bytes), do: scaled(bytes / 1024, ["KiB", "MiB", "GiB", "TiB"])

  defp scaled(value, [unit]), do: "#{Float.round(value, 1)} #{unit}"
  defp scaled(value, [unit | _]) when value < 1024, do: "#{Float.round(value, 1)} #{unit}"
  defp scaled(value, [_ | units]), do: scaled(value / 1024, units)

  @doc "A number with its thousands apart."
  @spec number(integer()) :: String.t()
  def number(number),
    do: number |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
end
