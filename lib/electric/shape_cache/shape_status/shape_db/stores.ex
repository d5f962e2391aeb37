defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Stores do
  @moduledoc false
  # Which store a stack has, and what its callers need besides, in a persistent term,
  # as it is asked for on every request. The entry of an owner that was killed is taken
  # out by this process, so that its stack is "not running" and its memory is given
  # back. Whom it watches is in the registry's table: when it is itself killed, the
  # next one finds them there.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Registry

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
    # First noted, then to be found: whatever is killed in between, it is taken out.
    :ok = Registry.note({:store, stack_id}, self(), entry)
    :persistent_term.put({__MODULE__, stack_id}, entry)
  end

  @doc "Takes the store of the caller out, if it is still that of the stack."
  @spec delete(stack_id(), Native.store()) :: :ok
  def delete(stack_id, store) do
    with {^store, _options, _about} = entry <- get(stack_id), do: erase(stack_id, entry)
    :ok
  end

  @doc "The store of a stack, the options it was started with, and what is to know of it."
  @spec get(stack_id()) :: entry() | nil
  def get(stack_id), do: :persistent_term.get({__MODULE__, stack_id}, nil)

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

  @spec not_running(stack_id()) :: String.t()
  def not_running(stack_id) do
    case Registry.check_started() do
      :ok -> "the stack #{inspect(stack_id)} is not running"
      {:error, why} -> "the stack #{inspect(stack_id)} is not running: #{why}"
    end
  end

  @doc "Has what is noted of a process taken out when it ends."
  @spec watch(pid()) :: :ok
  # Without this process nothing is lost: the next one reads the table.
  def watch(pid), do: GenServer.cast(__MODULE__, {:watch, pid})

  @impl true
  # It has its name already. So whoever is noted from now on tells it.
  def init(nil), do: {:ok, Enum.reduce(Registry.pids(), %{}, &monitor/2)}

  @impl true
  def handle_cast({:watch, pid}, watched), do: {:noreply, monitor(pid, watched)}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, watched) do
    for {{:store, stack_id}, entry} <- Registry.forget_all(pid), do: erase(stack_id, entry)
    {:noreply, Map.delete(watched, pid)}
  end

  def handle_info(_other, watched), do: {:noreply, watched}

  defp monitor(pid, watched), do: Map.put_new_lazy(watched, pid, fn -> Process.monitor(pid) end)

  # The stack may have started again in the meantime.
  defp erase(stack_id, entry) do
    if get(stack_id) == entry, do: :persistent_term.erase({__MODULE__, stack_id})
  end
end
