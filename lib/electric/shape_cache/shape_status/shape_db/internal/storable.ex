defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Storable do
  @moduledoc false
  # What means nothing after a restart is not stored: a process, port or reference,
  # wherever in a shape it is, also in what a function has taken along. The native side
  # finds out quickly whether there may be one; this module looks for it, and names it.

  @doc "`{:error, {:not_storable, text}}` when there is one in the shape or its comparable."
  @spec check(struct(), binary()) :: :ok | {:error, {:not_storable, String.t()}}
  def check(shape, comparable) do
    with nil <- find(shape, "shape"),
         nil <- find(:erlang.binary_to_term(comparable), "the comparable term") do
      :ok
    else
      {where, what} ->
        {:error,
         {:not_storable, "#{where} is #{inspect(what)}, which means nothing after a restart"}}
    end
  end

  # The way to it is written down only once it is found.
  defp find(term, where) do
    case path(term) do
      nil -> nil
      {steps, what} -> {IO.iodata_to_binary([where | steps]), what}
    end
  end

  defp path(term) when is_pid(term) or is_port(term) or is_reference(term), do: {[], term}

  # Those of a release are there again after its restart, with what they took along.
  defp path(fun) when is_function(fun) do
    {:env, env} = :erlang.fun_info(fun, :env)
    step(path(env), " (a function)")
  end

  defp path(struct) when is_struct(struct), do: struct |> Map.from_struct() |> fields()
  defp path(map) when is_map(map), do: fields(map)
  defp path(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> elements(0)
  defp path([_ | _] = list), do: elements(list, 0)
  defp path(_plain), do: nil

  defp fields(map) do
    Enum.find_value(map, fn {key, value} ->
      with nil <- step(path(key), ".key"), do: step(path(value), [?., key(key)])
    end)
  end

  defp elements([item | rest], n) do
    with nil <- step(path(item), "[#{n}]"), do: elements(rest, n + 1)
  end

  defp elements([], _n), do: nil
  # The tail of an improper list.
  defp elements(tail, n), do: step(path(tail), "[#{n}]")

  defp step(nil, _step), do: nil
  defp step({steps, what}, step), do: {[step | steps], what}

  defp key(key) when is_atom(key), do: Atom.to_string(key)
  defp key(key), do: inspect(key, limit: 3, printable_limit: 30)
end
