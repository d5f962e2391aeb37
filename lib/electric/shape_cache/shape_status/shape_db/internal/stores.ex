defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores do
  @moduledoc false
  # Which store a stack has, and what its callers need besides. It is in the table of `Names`:
  # when this process, which watches those who run, is itself killed, the next one finds them
  # there. What each request asks for names the stack, and the native side knows its store.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names

  # How long a handler of the host's may take on after the owner of its stack has ended.
  @patience 30_000

  @type stack_id :: String.t()

  @typedoc "Where the file is, and the count of events that were passed over."
  @type about :: %{path: Path.t(), dropped: :counters.counters_ref()}
  @type entry :: {Native.store(), Options.t(), about()}

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes `store` the one of the stack, for as long as the caller lives, who owns it."
  @spec put(stack_id(), Native.store(), Options.t(), about()) :: :ok
  def put(stack_id, store, options, about) do
    :ok = Names.note({:store, stack_id}, self(), {store, options, about})
    Native.enter(store)
  end

  @doc "The store of a stack, the options it was started with, and what is to know of it."
  @spec get(stack_id()) :: entry() | nil
  def get(stack_id) do
    with :ok <- Names.check_started(),
         {:ok, entry} <- Names.noted({:store, stack_id}) do
      entry
    else
      _none -> nil
    end
  end

  @spec fetch(stack_id()) :: {:ok, Native.store()} | {:error, String.t()}
  def fetch(stack_id) do
    case get(stack_id) do
      {store, _options, _about} -> {:ok, store}
      nil -> {:error, not_running(stack_id)}
    end
  end

  @doc "As `fetch/1`, raising an error that names the stack and what was tried."
  @spec fetch!(stack_id(), atom()) :: Native.store()
  def fetch!(stack_id, action) do
    case get(stack_id) do
      {store, _options, _about} -> store
      nil -> raise Error, action: action, error: not_running(stack_id)
    end
  end

  @doc "Why a store that is closed takes no change."
  @spec closed(stack_id()) :: :closed | String.t()
  def closed(stack_id), do: if(get(stack_id), do: :closed, else: not_running(stack_id))

  @spec not_running(stack_id()) :: String.t()
  def not_running(stack_id) do
    case Names.check_started() do
      :ok -> "the stack #{inspect(stack_id)} is not running"
      {:error, why} -> "the stack #{inspect(stack_id)} is not running: #{why}"
    end
  end

  @doc "Has what is noted of a process under this key taken out when it ends."
  @spec watch(pid(), Names.key()) :: :ok
  # Without this process nothing is lost: the next one reads the table.
  def watch(pid, key), do: GenServer.cast(__MODULE__, {:watch, pid, key})

  @impl true
  # This process has its name already, so whoever is noted from now on tells it.
  def init(nil) do
    {:ok, Enum.reduce(Names.notes(), %{}, fn {pid, key}, watched -> watch(watched, pid, key) end)}
  end

  @impl true
  def handle_cast({:watch, pid, key}, watched), do: {:noreply, watch(watched, pid, key)}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, watched) do
    {keys, watched} = Map.pop(watched, pid, [])
    {reporters, keys} = Enum.split_with(keys, &match?({:reporter, _owner}, &1))
    # Noted until then: the next process of this one's name is to know of it.
    for key <- reporters, do: Process.send_after(self(), {:end_reporter, key, pid}, @patience)
    Enum.each(keys, &Names.forget(&1, pid))
    {:noreply, watched}
  end

  # It has ended by itself, unless a handler holds it up.
  def handle_info({:end_reporter, key, owner}, watched) do
    with {:ok, reporter} <- Names.noted(key), do: Process.exit(reporter, :kill)
    Names.forget(key, owner)
    {:noreply, watched}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp watch(watched, pid, key) do
    unless is_map_key(watched, pid), do: Process.monitor(pid)
    Map.update(watched, pid, [key], &Enum.uniq([key | &1]))
  end
end
