# holdfast-script: realise-machine
# version: 1
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
$machine = Get-CimInstance -Namespace $scope -ClassName Msvm_PlannedComputerSystem -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }

$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$what = @{ PlannedSystem = $machine }
$got = Invoke-CimMethod -InputObject $service -MethodName RealizePlannedSystem -Arguments $what
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
