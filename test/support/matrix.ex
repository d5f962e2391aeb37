defmodule ElectricShapeDb.Matrix do
  @moduledoc """
  The configurations that one suite runs over, times the moment at which it
  looks: while its changes are only buffered, after a flush, after a restart.
  """

  import ElectricShapeDb.StoreCase

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  @on_disk [
    background: [],
    manual: [manual_flush_only: true],
    replicated: [external_checkpoint: true],
    exclusive: [exclusive_mode: true],
    exclusive_manual: [exclusive_mode: true, manual_flush_only: true]
  ]

  @in_memory [memory: [exclusive_mode: true, storage_dir: ":memory:"]]

  @spec configurations() :: [{atom(), keyword()}]
  def configurations, do: @on_disk ++ @in_memory

  @doc "Every `{name, store options, moment}`; a store in memory has no restart."
  @spec cells() :: [{String.t(), keyword(), atom()}]
  def cells do
    cells(@on_disk, [:buffered, :flushed, :restarted]) ++ cells(@in_memory, [:buffered, :flushed])
  end

  defp cells(configurations, moments) do
    for {name, opts} <- configurations, moment <- moments do
      {Macro.camelize("#{name}_#{moment}"), opts, moment}
    end
  end

  @doc "Starts the store of a cell; what is to stay buffered is held back."
  @spec start_cell!(map()) :: :ok
  def start_cell!(%{moment: moment} = context) do
    start_store!(context)
    if moment == :buffered, do: WriteBuffer.pause_flush(context.stack_id)
    :ok
  end

  @doc "Brings what was changed so far to the cell's moment."
  @spec settle(map()) :: :ok
  def settle(%{moment: :buffered}), do: :ok
  def settle(%{moment: :flushed, stack_id: stack_id}), do: flush!(stack_id)
  def settle(%{moment: :restarted} = context), do: restart_store!(context)
end
