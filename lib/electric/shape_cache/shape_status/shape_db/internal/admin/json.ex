defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Json do
  @moduledoc false
  # Answers for programs outside of the VM. There is a JSON module from Elixir 1.18 on only.

  @spec encode(term()) :: iodata()
  def encode(nil), do: "null"
  def encode(value) when is_boolean(value), do: Atom.to_string(value)
  def encode(value) when is_atom(value), do: string(Atom.to_string(value))
  def encode(value) when is_integer(value), do: Integer.to_string(value)
  def encode(value) when is_float(value), do: :io_lib_format.fwrite_g(value)
  def encode(value) when is_binary(value), do: string(value)
  def encode(%DateTime{} = time), do: string(DateTime.to_iso8601(time))
  def encode(%_{} = struct), do: struct |> Map.from_struct() |> encode()

  def encode(map) when is_map(map) do
    pairs = for {key, value} <- Enum.sort(map), do: [string("#{key}"), ":", encode(value)]
    ["{", Enum.intersperse(pairs, ","), "}"]
  end

  def encode(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> encode()

  def encode(list) when is_list(list),
    do: ["[", list |> Enum.map(&encode/1) |> Enum.intersperse(","), "]"]

  # Bytes that are no text, of a damaged file, are written as they are looked at.
  defp string(bytes) do
    text = if String.valid?(bytes), do: bytes, else: inspect(bytes, limit: :infinity)
    [?", for(<<char::utf8 <- text>>, do: char(char)), ?"]
  end

  defp char(?"), do: ~S(\")
  defp char(?\\), do: ~S(\\)
  defp char(?\n), do: ~S(\n)
  defp char(?\r), do: ~S(\r)
  defp char(?\t), do: ~S(\t)
  defp char(char) when char < 0x20, do: :io_lib.format("\\u~4.16.0b", [char])
  defp char(char), do: <<char::utf8>>
end
