defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores do
  @moduledoc false
  # Which store a stack has, and what its callers need besides, in a persistent term,
  # as it is asked for on every request. Who is running is noted in the table of `Names`:
  # when this process, which watches them, is itself killed, the next one finds them there.
  #
  # To erase a persistent term makes every process of the VM scan its heap. So the entry of
  # a stack that has ended stays, with a store that is closed and says so, until what
  # such stores hold is much; then all of them are erased.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names

  # So many bytes of stores that have ended may stay: of their indexes, and what each has
  # besides. They are erased together: to erase a few costs a look through all heaps as well.
  @most_ended_bytes 64 * 1024 * 1024
  @ended_bytes 16 * 1024

  # How long a handler of the host's may take on after the owner of its stack has ended.
  @patience 30_000

  # Each call of a request process counts against its timeslice.
  @compile {:inline, get: 1}

  @type stack_id :: String.t()

  @typedoc "Where the file is, and the count of events that were passed over."
  @type about :: %{path: Path.t(), dropped: :counters.counters_ref()}
  @type entry :: {Native.store(), Options.t(), about()}

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes `store` the one of the stack, for as long as the caller lives."
  @spec put(stack_id(), Native.store(), Options.t(), about()) :: :ok
  def put(stack_id, store, options, about) do
    entry = {store, options, about}
    # Noted before it can be found: whoever is killed in between, it is taken out again.
    :ok = Names.note({:store, stack_id}, self(), entry)
    :persistent_term.put({__MODULE__, stack_id}, entry)
  end

  @doc """
  The store of a stack, the options it was started with, and what is to know of it. It may
  be that of a stack that has ended: then it is closed, or poisoned.
  """
  @spec get(stack_id()) :: entry() | nil
  def get(stack_id), do: :persistent_term.get({__MODULE__, stack_id}, nil)

  @doc "As `get/1`, but nil for a stack that has ended."
  @spec running(stack_id()) :: entry() | nil
  def running(stack_id) do
    case Names.noted({:store, stack_id}) do
      {:ok, entry} -> entry
      :error -> nil
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
  def closed(stack_id), do: if(running(stack_id), do: :closed, else: not_running(stack_id))

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

  @doc "Erases what is left of the stacks that have ended, as is done when it is much."
  @spec erase_ended() :: :ok
  def erase_ended, do: GenServer.call(__MODULE__, :erase_ended, :infinity)

  @impl true
  # This process has its name already, so whoever is noted from now on tells it.
  def init(nil) do
    watched = Enum.reduce(Names.notes(), %{}, fn {pid, key}, all -> watch(all, pid, key) end)
    ids = for {{__MODULE__, stack_id}, _entry} <- :persistent_term.get(), do: stack_id
    {:ok, Enum.reduce(ids, %{watched: watched, ended: %{}}, &note_ended/2)}
  end

  @impl true
  def handle_cast({:watch, pid, key}, state) do
    {:noreply, %{state | watched: watch(state.watched, pid, key)}}
  end

  @impl true
  def handle_call(:erase_ended, _from, state), do: {:reply, :ok, erase_all(state)}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    {keys, watched} = Map.pop(state.watched, pid, [])
    {reporters, keys} = Enum.split_with(keys, &match?({:reporter, _owner}, &1))
    # Noted until then: the next process of this one's name is to know of it.
    for key <- reporters, do: Process.send_after(self(), {:end_reporter, key, pid}, @patience)
    Enum.each(keys, &Names.forget(&1, pid))
    ids = for {:store, stack_id} <- keys, do: stack_id
    {:noreply, Enum.reduce(ids, %{state | watched: watched}, &note_ended/2)}
  end

  # It has ended by itself, unless a handler holds it up.
  def handle_info({:end_reporter, key, owner}, state) do
    with {:ok, reporter} <- Names.noted(key), do: Process.exit(reporter, :kill)
    Names.forget(key, owner)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp watch(watched, pid, key) do
    unless is_map_key(watched, pid), do: Process.monitor(pid)
    Map.update(watched, pid, [key], &Enum.uniq([key | &1]))
  end

  defp note_ended(stack_id, %{ended: ended} = state) do
    with nil <- running(stack_id), {store, _options, _about} <- get(stack_id) do
      bytes = @ended_bytes + Native.statistics(store).index_bytes
      ended = Map.put(ended, stack_id, bytes)
      state = %{state | ended: ended}
      if Enum.sum(Map.values(ended)) > @most_ended_bytes, do: erase_all(state), else: state
    else
      _running_or_none -> state
    end
  end

  defp erase_all(state) do
    Enum.each(Map.keys(state.ended), &erase/1)
    %{state | ended: %{}}
  end

  # Unless the stack has started again. One that starts meanwhile is noted first: so if its
  # entry was erased, it is seen here, and put once more.
  defp erase(stack_id) do
    if running(stack_id) == nil do
      :persistent_term.erase({__MODULE__, stack_id})
      entry = running(stack_id)
      if entry, do: :persistent_term.put({__MODULE__, stack_id}, entry)
    end
  end
end
