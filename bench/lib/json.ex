defmodule Bench.Json do
  @moduledoc """
  Writes JSON: maps, keyword lists (which keep their order), lists, strings, numbers and
  `nil`. Reads what it wrote: objects become maps with atoms for keys.
  """

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

  @spec decode!(String.t()) :: term()
  def decode!(text) do
    {term, rest} = value(trim(text))
    "" = trim(rest)
    term
  end

  defp value("{" <> rest), do: members(trim(rest), %{})
  defp value("[" <> rest), do: items(trim(rest), [])
  defp value("\"" <> rest), do: string(rest, "")
  defp value("null" <> rest), do: {nil, rest}
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}

  defp value(text) do
    [number] = Regex.run(~r/^-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/, text)
    rest = binary_part(text, byte_size(number), byte_size(text) - byte_size(number))
    {if(number =~ ~r/[.eE]/, do: String.to_float(number), else: String.to_integer(number)), rest}
  end

  defp members("}" <> rest, map), do: {map, rest}
  defp members("," <> rest, map), do: members(trim(rest), map)

  defp members("\"" <> rest, map) do
    {key, rest} = string(rest, "")
    ":" <> rest = trim(rest)
    {value, rest} = value(trim(rest))
    members(trim(rest), Map.put(map, String.to_atom(key), value))
  end

  defp items("]" <> rest, items), do: {Enum.reverse(items), rest}
  defp items("," <> rest, items), do: items(trim(rest), items)

  defp items(text, items) do
    {item, rest} = value(text)
    items(trim(rest), [item | items])
  end

  defp string("\"" <> rest, text), do: {text, rest}
  defp string("\\n" <> rest, text), do: string(rest, text <> "\n")

  defp string("\\u" <> <<hex::binary-4, rest::binary>>, text),
    do: string(rest, <<text::binary, String.to_integer(hex, 16)::utf8>>)

  defp string("\\" <> <<escaped::utf8, rest::binary>>, text),
    do: string(rest, <<text::binary, escaped::utf8>>)

  defp string(<<character::utf8, rest::binary>>, text),
    do: string(rest, <<text::binary, character::utf8>>)

  defp trim(text), do: String.trim_leading(text)
end
