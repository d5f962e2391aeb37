defmodule ElectricShapeDb.Demo.Pipe do
  @moduledoc """
  How the VM that will be killed tells the one that watches: over a pipe, whose
  content outlives the process that wrote it. Any process may tell.

  The watched VM reads its file descriptor 3 and writes 4. When the watcher is
  gone it ends: nobody would kill it any more.

  An acknowledgement is told in a few bytes, all else as a term.
  """

  @packet 4
  @durabilities {:buffered, :sync, {:sync, 50}}

  @type told :: {:acknowledged, index :: 0..2, degraded :: boolean(), number :: non_neg_integer()}

  @doc "The framing that both ends use."
  @spec framing() :: [term()]
  def framing, do: [:binary, :eof, packet: @packet]

  @doc "The durabilities that an acknowledgement may have, by index."
  @spec durabilities() :: tuple()
  def durabilities, do: @durabilities

  @doc "Opens the watched end; what comes is sent to the caller as `{:told, term}`."
  @spec open() :: port()
  def open do
    caller = self()
    ref = make_ref()

    spawn(fn ->
      port = Port.open({:fd, 3, 4}, framing())
      send(caller, {ref, port})
      listen(port, caller)
    end)

    receive do
      {^ref, port} -> port
    after
      # The watcher sees the end of this VM.
      5_000 -> System.halt(3)
    end
  end

  defp listen(port, listener) do
    receive do
      {^port, {:data, bytes}} ->
        send(listener, {:told, :erlang.binary_to_term(bytes)})
        listen(port, listener)

      {^port, :eof} ->
        System.halt(2)
    end
  end

  @spec tell(port(), term()) :: true
  def tell(port, term), do: Port.command(port, [?t, :erlang.term_to_binary(term)])

  @doc "Waits while the watcher is behind."
  @spec acknowledge(port(), 0..2, boolean(), non_neg_integer()) :: true
  def acknowledge(port, index, degraded, number) do
    degraded = if degraded, do: 1, else: 0
    Port.command(port, <<?a, index, degraded, number::64>>)
  end

  @doc "What was told."
  @spec parse(binary()) :: told() | term()
  def parse(<<?a, index, degraded, number::64>>) do
    {:acknowledged, index, degraded == 1, number}
  end

  def parse(<<?t, term::binary>>), do: :erlang.binary_to_term(term)
end
