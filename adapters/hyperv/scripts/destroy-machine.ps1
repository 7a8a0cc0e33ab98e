# holdfast-script: destroy-machine
# version: 1
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
# Planned machines and others have a class in common.
$machine = Get-CimInstance -Namespace $scope -ClassName CIM_ComputerSystem -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$what = @{ AffectedSystem = $machine }
$got = Invoke-CimMethod -InputObject $service -MethodName DestroySystem -Arguments $what
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
