defmodule Bench.Json do
  @moduledoc "Writes JSON: maps, keyword lists (which keep their order), lists, strings, numbers and `nil`."

  @spec encode(term()) :: iodata()
  def encode(nil), do: "null"
  def encode(boolean) when is_boolean(boolean), do: Atom.to_string(boolean)
  def encode(integer) when is_integer(integer), do: Integer.to_string(integer)
  def encode(float) when is_float(float), do: Float.to_string(float)
  def encode(atom) when is_atom(atom), do: atom |> Atom.to_string() |> encode()
  def encode(string) when is_binary(string), do: [?", escape(string), ?"]
  def encode(map) when is_map(map), do: map |> Enum.sort() |> object()
  def encode([{key, _value} | _] = pairs) when is_atom(key), do: object(pairs)

  def encode(list) when is_list(list),
    do: [?[, list |> Enum.map(&encode/1) |> Enum.intersperse(", "), ?]]

  defp object(pairs) do
    members = for {key, value} <- pairs, do: [encode(to_string(key)), ": ", encode(value)]
    [?{, Enum.intersperse(members, ", "), ?}]
  end

  defp escape(string) do
    for <<character::utf8 <- string>>, into: "", do: escape_character(character)
  end

  defp escape_character(?"), do: "\\\""
  defp escape_character(?\\), do: "\\\\"
  defp escape_character(?\n), do: "\\n"

  defp escape_character(control) when control < 0x20 do
    "\\u" <> (control |> Integer.to_string(16) |> String.pad_leading(4, "0"))
  end

  defp escape_character(character), do: <<character::utf8>>
end
