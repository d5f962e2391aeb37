defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Watch do
  @moduledoc false
  # One screen about a stack, drawn again and again.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Health
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Text

  @bar 30

  @spec run(String.t(), keyword()) :: :ok | {:error, String.t()}
  def run(stack_id, opts) do
    interval = opts[:interval] || 1_000
    times = opts[:times] || :infinity

    with {:ok, %Target{store: store}} when store != nil <- Target.find(stack_id) do
      stop = if times == :infinity, do: await_key()
      redraw(stack_id, nil, interval, times, stop)
    else
      {:ok, _file} -> {:error, "#{stack_id} is a file: only a stack that runs can be watched"}
      error -> error
    end
  end

  # Whatever is typed; with the return key, as consoles send lines.
  defp await_key do
    watcher = self()
    spawn_link(fn -> send(watcher, {:key, IO.gets("")}) end)
  end

  defp redraw(_stack_id, _before, _interval, 0, _stop), do: :ok

  defp redraw(stack_id, before, interval, times, stop) do
    case look(stack_id) do
      {:ok, now} ->
        IO.write([IO.ANSI.home(), IO.ANSI.clear(), screen(now, before, stop)])

        receive do
          {:key, _line} -> :ok
        after
          interval -> redraw(stack_id, now, interval, less(times), stop)
        end

      {:error, reason} ->
        IO.puts(["\n", reason])
        {:error, reason}
    end
  end

  defp less(:infinity), do: :infinity
  defp less(times), do: times - 1

  defp look(stack_id) do
    with {:ok, target} <- Target.find(stack_id),
         {:ok, health} <- Health.of(target) do
      {:ok, Map.put(health, :at, System.monotonic_time(:millisecond))}
    end
  end

  defp screen(%{numbers: now} = health, before, stop) do
    head = [
      Text.verdict(health.verdict),
      "  ",
      IO.ANSI.format([:bright, health.stack_id]),
      "  #{health.role} since #{health.since}\n\n"
    ]

    reasons = for reason <- health.reasons, do: ["  ", reason.text, "\n"]

    rows = [
      {"shapes", Text.number(now.shapes)},
      {"", nil},
      {"changes a second", rate(health, before, :durable)},
      {"commits a second", rate(health, before, :commits)},
      {"definitions a second", definitions(health, before)},
      {"", nil},
      {"commit, mean", mean(health, before)},
      {"commit, last", "#{ms(now.last_commit_us)} of #{Text.number(now.last_commit_ops)}"},
      {"", nil},
      {"pending",
       "#{bar(now.queue_fill)} #{Text.number(now.pending_ops)}, #{Text.bytes(now.pending_bytes)}"},
      {"to drain", "#{Text.number(now.drain_ms)} ms"},
      {"callers waiting", Text.number(now.waiting)},
      {"", nil},
      {"memory",
       "index #{Text.bytes(now.index_bytes)}, definitions #{Text.bytes(now.cache_bytes)}"},
      {"connections", now.connections},
      {"file", "#{Text.bytes(now.disk_size)}, log #{Text.bytes(now.log_size)}"},
      {"disk", "#{Text.bytes(now.disk_free)} free of #{Text.bytes(now.disk_total)}"},
      {"", nil},
      {"faults", "#{now.faults} tries failed, #{now.set_aside} refused, #{now.lost} shapes lost"},
      {"files", "#{now.rebuilds} times written anew, #{now.quarantined_files} moved aside"}
    ]

    body =
      for {name, value} <- rows do
        if value, do: ["  ", String.pad_trailing(name, 22), "#{value}\n"], else: "\n"
      end

    foot = if stop, do: ["\n", IO.ANSI.format([:faint, "  return ends it"]), "\n"], else: []
    [head, body, if(reasons == [], do: [], else: ["\n" | reasons]), foot]
  end

  defp rate(_now, nil, _key), do: "…"

  defp rate(now, before, key) do
    per_second(now.numbers[key] - before.numbers[key], now.at - before.at)
  end

  defp definitions(_now, nil), do: "…"

  defp definitions(now, before) do
    hits = now.numbers.cache_hits - before.numbers.cache_hits
    misses = now.numbers.cache_misses - before.numbers.cache_misses
    "#{per_second(hits, now.at - before.at)} warm, #{per_second(misses, now.at - before.at)} cold"
  end

  defp per_second(count, ms), do: Text.number(div(count * 1000, max(ms, 1)))

  defp mean(_now, nil), do: "…"

  defp mean(now, before) do
    case now.numbers.commits - before.numbers.commits do
      0 -> "none"
      commits -> ms(div(now.numbers.commit_us - before.numbers.commit_us, commits))
    end
  end

  defp ms(us), do: "#{Float.round(us / 1000, 2)} ms"

  defp bar(fill) do
    full = round(fill * @bar)
    String.duplicate("█", full) <> String.duplicate("░", @bar - full)
  end
end
