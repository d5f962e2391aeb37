defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments do
  @moduledoc false
  # What the arguments of public functions have to be. Who gives another one is told so by
  # an error that names the argument and the value. Functions check theirs in a guard,
  # which costs nothing, and come here when that fails.

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes, only: [is_shape: 1]

  # The longest that `receive` can wait, some 49 days.
  @longest 0xFFFFFFFF

  @doc "Whether a wait can take that long."
  defguard is_timeout(term)
           when term == :infinity or (is_integer(term) and term >= 0 and term <= @longest)

  @doc "The longest time in milliseconds."
  @spec longest() :: pos_integer()
  def longest, do: @longest

  @doc "Raises for the first of the arguments that is not what it has to be, or else the first."
  @spec refuse!(keyword()) :: no_return()
  def refuse!(arguments) do
    raise ArgumentError, wrong(arguments) || said(hd(arguments))
  end

  @doc "What is wrong with the first of the arguments that is not what it has to be."
  @spec wrong(keyword()) :: String.t() | nil
  def wrong(arguments) do
    wrong = Enum.find(arguments, fn {name, value} -> not valid?(name, value) end)
    wrong && said(wrong)
  end

  defp said({:admin_opts, value}),
    do: "the options are #{words(:admin_opts)}, not #{shown(value)}"

  defp said({name, value}), do: "#{name} is #{words(name)}, not #{shown(value)}"

  @doc "Raises for the first of the arguments that is not what it has to be, if one is."
  @spec check!(keyword()) :: :ok
  def check!(arguments) do
    if Enum.all?(arguments, fn {name, value} -> valid?(name, value) end),
      do: :ok,
      else: refuse!(arguments)
  end

  @doc "A value as errors show it: whatever its size, on one line."
  @spec shown(term()) :: String.t()
  def shown(value), do: inspect(value, limit: 10, printable_limit: 100, width: :infinity)

  defp valid?(:stack_id, value), do: is_binary(value)
  defp valid?(:stack_ref, value), do: is_binary(value) or has_stack_id?(value)
  defp valid?(:handle, value), do: is_binary(value)
  defp valid?(:handles, value), do: Enumerable.impl_for(value) != nil
  defp valid?(:shape, value), do: is_shape(value)
  defp valid?(:hash, value), do: is_integer(value) and value in 0..0xFFFFFFFF
  defp valid?(:hash_or_shape, value), do: is_shape(value) or valid?(:hash, value)
  defp valid?(flags, value) when flags in [:flags, :mask, :value], do: value in 0..255
  defp valid?(:n, value), do: is_integer(value) and value >= 0

  defp valid?(:monotonic_native, value),
    do: is_integer(value) and value in -0x8000000000000000..0x7FFFFFFFFFFFFFFF

  defp valid?(:relations, value), do: list_of?(value, &relation?/1)
  defp valid?(:timeout, value), do: is_timeout(value)
  defp valid?(:fun, value), do: is_function(value, 1)
  defp valid?(:mapper, value), do: is_function(value, 1)
  defp valid?(:reducer, value), do: is_function(value, 2)
  defp valid?(:conn, {store, slot}), do: is_reference(store) and is_integer(slot) and slot >= 0
  defp valid?(:conn, _value), do: false
  defp valid?(:sql, value), do: is_binary(value)
  defp valid?(:sqls, value), do: list_of?(value, &is_binary/1)

  defp valid?(:binds, binds) when is_map(binds) and not is_struct(binds) do
    Enum.all?(binds, fn {name, value} -> is_binary(name) and bind?(value) end)
  end

  defp valid?(:binds, binds), do: list_of?(binds, &bind?/1)

  defp valid?(path, value) when path in [:target, :from, :to],
    do: is_binary(value) and value != "" and not String.contains?(value, <<0>>)

  defp valid?(:admin_opts, value), do: list_of?(value, &admin_option?/1)
  defp valid?(:option, value), do: value in [:synchronous, :cache_size]

  defp admin_option?({option, value}) when option in [:print, :progress], do: is_boolean(value)
  defp admin_option?({:samples, value}), do: is_integer(value) and value >= 0
  defp admin_option?({:interval, value}), do: is_integer(value) and value in 1..@longest
  defp admin_option?({:times, value}), do: value == :infinity or (is_integer(value) and value > 0)
  defp admin_option?(_other), do: false

  defp relation?({oid, _relation}), do: is_integer(oid) and oid in 0..0xFFFFFFFF
  defp relation?(_other), do: false

  defp bind?({:blob, bytes}), do: is_binary(bytes)

  defp bind?(value) when is_integer(value),
    do: value in -0x8000000000000000..0x7FFFFFFFFFFFFFFF

  defp bind?(value), do: is_float(value) or is_binary(value) or value == nil

  defp list_of?([item | items], is?), do: is?.(item) and list_of?(items, is?)
  defp list_of?(rest, _is?), do: rest == []

  defp has_stack_id?(value), do: Keyword.keyword?(value) and is_binary(value[:stack_id])

  defp words(:stack_id), do: "a binary"
  defp words(:stack_ref), do: "a stack id, which is a binary, or a keyword list with one"
  defp words(:handle), do: "a binary"
  defp words(:handles), do: "an enumerable of binaries"
  defp words(:shape), do: "an Electric.Shapes.Shape"
  defp words(:hash), do: "a whole number below 2^32"
  defp words(:hash_or_shape), do: "a whole number below 2^32 or an Electric.Shapes.Shape"
  defp words(flags) when flags in [:flags, :mask, :value], do: "a whole number from 0 to 255"
  defp words(:n), do: "a whole number"
  defp words(:monotonic_native), do: "a whole number of 64 bits"
  defp words(:relations), do: "a list of {oid, relation} with oids below 2^32"
  defp words(:timeout), do: ":infinity or milliseconds up to #{@longest}"
  defp words(:fun), do: "a function of one argument"
  defp words(:mapper), do: "a function of one argument"
  defp words(:reducer), do: "a function of two arguments"
  defp words(:conn), do: "a connection that was checked out"
  defp words(:sql), do: "a binary"
  defp words(:sqls), do: "a list of binaries"

  defp words(:binds) do
    "a list, or a map by name, of integers of 64 bits, floats, binaries, nil and {:blob, binary}"
  end

  defp words(:target), do: "a stack's id or a path"
  defp words(path) when path in [:from, :to], do: "a path"

  defp words(:admin_opts) do
    "a list of print: true or false, samples: a whole number, and for watch/2 times: a whole " <>
      "number or :infinity and interval: milliseconds"
  end

  defp words(:option), do: ":synchronous or :cache_size"
end
