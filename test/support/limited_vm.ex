defmodule ElectricShapeDb.LimitedVM do
  @moduledoc """
  Another VM of a user of its own, whose threads and descriptors are limited while it
  runs. It takes the system's own user to start it.
  """

  alias ElectricShapeDb.PeerVM

  @doc "Whether there can be one."
  @spec available?() :: boolean()
  def available? do
    System.cmd("id", ["-u"]) == {"0\n", 0} and
      System.find_executable("setpriv") != nil and System.find_executable("prlimit") != nil
  end

  @doc "Starts it; `dir` becomes its user's."
  @spec start!(Path.t()) :: {pid(), pos_integer()}
  def start!(dir) do
    # A user has a number of 32 bits; those of the VM are larger in the end.
    n = rem(System.unique_integer([:positive]), 4_000_000)
    user = 1_000_000 + n * 1_000 + :rand.uniform(999)
    {_, 0} = System.cmd("chown", ["-R", "#{user}", dir])
    erl = Path.join([:code.root_dir(), "bin", "erl"])
    privileges = ["--reuid", "#{user}", "--clear-groups", erl]

    exec =
      {System.find_executable("setpriv") |> to_charlist(), Enum.map(privileges, &to_charlist/1)}

    vm = PeerVM.start!(%{exec: exec, env: [{~c"HOME", to_charlist(dir)}]})
    :ok = PeerVM.call(vm, Logger, :configure, [[level: :none]])
    # It takes a descriptor to load a module.
    for application <- [:kernel, :stdlib, :elixir, :logger, :electric_shape_db] do
      modules = PeerVM.call(vm, Application, :spec, [application, :modules])
      PeerVM.call(vm, :code, :ensure_modules_loaded, [modules], 60_000)
    end

    {vm, user}
  end

  @doc "Lets it have so many threads more than it has."
  @spec allow_threads!({pid(), pos_integer()}, non_neg_integer()) :: :ok
  def allow_threads!({_, user} = vm, more), do: limit!(vm, "nproc", threads(user) + more)

  @doc "Lets it have so many descriptors more than it has."
  @spec allow_descriptors!({pid(), pos_integer()}, non_neg_integer()) :: :ok
  def allow_descriptors!({peer, _} = vm, more) do
    open = peer |> os_pid() |> then(&File.ls!("/proc/#{&1}/fd")) |> Enum.map(&String.to_integer/1)
    # The limit is the first number that is not given, and numbers are given from below.
    limit!(
      vm,
      "nofile",
      0 |> Stream.iterate(&(&1 + 1)) |> Stream.reject(&(&1 in open)) |> Enum.at(more)
    )
  end

  # Of one's own processes one may.
  defp limit!({peer, user}, what, most) do
    limit = ["prlimit", "--pid", os_pid(peer), "--#{what}=#{most}:"]
    {_, 0} = System.cmd("setpriv", ["--reuid", "#{user}", "--clear-groups" | limit])
    :ok
  end

  defp os_pid(vm), do: PeerVM.call(vm, System, :pid, [])

  # A process that ends meanwhile counts for nothing.
  defp threads(user) do
    for path <- Path.wildcard("/proc/[0-9]*/status"),
        {:ok, status} <- [File.read(path)],
        status =~ ~r/^Uid:\s+#{user}\s/m,
        [_, threads] <- [Regex.run(~r/^Threads:\s+(\d+)/m, status)],
        reduce: 0,
        do: (sum -> sum + String.to_integer(threads))
  end
end
