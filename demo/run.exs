# make demo: see ElectricShapeDb.Demo. Stops the VM with the demo's exit code.
case ElectricShapeDb.Demo.run(System.argv()) do
  0 -> :ok
  status -> exit({:shutdown, status})
end
