defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli do
  @moduledoc false
  # The functions of `Admin` at a shell. Exit codes: 0 well, 1 not well (a verdict, a check,
  # shapes that are not in what was made), 2 it could not be done, 3 called in a wrong way.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Json

  @switches [
    json: :boolean,
    help: :boolean,
    samples: :integer,
    interval: :integer,
    times: :integer,
    node: :string,
    cookie: :string
  ]

  # How many arguments each takes.
  @arguments %{
    stacks: 0,
    info: 1,
    health: 1,
    inspect: 1,
    check: 1,
    repair: 1,
    watch: 1,
    backup: 2,
    restore: 2,
    move: 2,
    salvage: 2,
    export: 2
  }

  @doc "The whole of a mix task, which ends with its exit code."
  @spec main(atom(), [String.t()], String.t()) :: :ok
  def main(name, args, help) do
    Mix.Task.run("app.config")
    {:ok, _started} = Application.ensure_all_started(:electric_shape_db)

    case run(name, args, help) do
      0 -> :ok
      code -> exit({:shutdown, code})
    end
  end

  @doc "Runs a task, prints its answer, and gives the exit code."
  @spec run(atom(), [String.t()], String.t()) :: 0..3
  def run(name, args, help) do
    {switches, arguments, wrong} = OptionParser.parse(args, strict: @switches)

    cond do
      switches[:help] ->
        IO.puts(help)
        0

      wrong != [] ->
        misused("unknown or ill-typed: #{Enum.map_join(wrong, ", ", &elem(&1, 0))}", help)

      length(arguments) != @arguments[name] ->
        misused("it takes #{@arguments[name]} arguments, not #{length(arguments)}", help)

      true ->
        opts = Keyword.take(switches, [:samples, :interval, :times])
        quiet = [print: not (switches[:json] || false), progress: not (switches[:json] || false)]
        opts = if name == :watch, do: opts, else: opts ++ quiet
        name |> call(arguments ++ [opts], switches) |> finish(name, switches)
    end
  end

  defp misused(text, help) do
    IO.puts(:stderr, "error: #{text}\n\n#{help}")
    3
  end

  # In the VM of a service its own code runs, and prints to this terminal.
  defp call(name, arguments, switches) do
    case switches[:node] do
      nil ->
        apply(Admin, name, arguments)

      node ->
        with {:ok, node} <- connect(node, switches[:cookie]) do
          case :rpc.call(node, Admin, name, arguments) do
            {:badrpc, reason} -> {:error, "#{node} did not answer: #{inspect(reason)}"}
            answer -> answer
          end
        end
    end
  end

  defp connect(name, cookie) do
    node = String.to_atom(name)
    [_, host] = String.split(name <> "@", "@", parts: 2)
    names = if String.contains?(host, "."), do: :longnames, else: :shortnames
    me = :"shape_db_#{System.pid()}"

    with {:ok, _} <- Node.start(me, names),
         _ = if(cookie, do: Node.set_cookie(String.to_atom(cookie))),
         true <- Node.connect(node) do
      {:ok, node}
    else
      {:error, reason} -> {:error, "cannot start distribution: #{inspect(reason)}"}
      _ -> {:error, "cannot reach #{name}: is it running, and is the cookie right?"}
    end
  end

  defp finish(:ok, _name, _switches), do: 0

  defp finish({:error, reason}, name, switches) do
    cond do
      switches[:json] -> IO.puts(Json.encode(%{error: reason}))
      name == :watch or unreached?(reason, switches) -> IO.puts(:stderr, "error: #{reason}")
      # `Admin` has printed it.
      true -> :ok
    end

    2
  end

  defp finish({:ok, data}, name, switches) do
    if switches[:json], do: IO.puts(Json.encode(data))
    code(name, data)
  end

  defp unreached?(reason, switches) do
    switches[:node] != nil and
      (String.starts_with?(reason, "cannot") or reason =~ "did not answer")
  end

  defp code(:health, %{verdict: verdict}) when verdict != :ok, do: 1
  defp code(:check, %{sound: false}), do: 1

  defp code(name, done) when name in [:export, :salvage, :repair] do
    missing = [:left_out, :damaged, :unreadable, :bodiless, :unreadable_ids, :wrong, :refused]
    if Enum.any?(missing, &(Map.get(done, &1, 0) > 0)), do: 1, else: 0
  end

  defp code(_name, _data), do: 0
end
