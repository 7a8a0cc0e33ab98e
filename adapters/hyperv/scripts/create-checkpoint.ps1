# holdfast-script: create-checkpoint
# version: 2
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
$machine = Get-CimInstance -Namespace $scope -ClassName Msvm_ComputerSystem -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }

$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSnapshotService
$settings = ([wmiclass]'root\virtualization\v2:Msvm_VirtualSystemSnapshotSettingData').CreateInstance()
$settings.ConsistencyLevel = $Arguments.consistency_level
$settings.IgnoreNonSnapshottableDisks = $Arguments.leave_out
# 2 is a copy: the guest's databases keep their logs. Hosts before 1703 have no such choice.
$names = @($settings.Properties | ForEach-Object { $_.Name })
if ($names -contains 'GuestBackupType') { $settings.GuestBackupType = 2 }
$got = Invoke-CimMethod -InputObject $service -MethodName CreateSnapshot -Arguments @{
    AffectedSystem = $machine; SnapshotSettings = $settings.GetText(1); SnapshotType = [uint16]32768
}
$made = @($got.ResultingSnapshot.InstanceID | Where-Object { $_ } | ForEach-Object { $_.Substring(10) })
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = $made }
