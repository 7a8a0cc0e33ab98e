# holdfast-script: checkpoints
# version: 1
# effect: none
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
# Planned machines and others have a class in common.
$machine = Get-CimInstance -Namespace $scope -ClassName CIM_ComputerSystem -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }

$kinds = @{ 'Microsoft:Hyper-V:Snapshot:Recovery' = 'recovery'; 'Microsoft:Hyper-V:Snapshot:Realized' = 'user' }
$found = @(Get-CimAssociatedInstance -InputObject $machine -Association Msvm_SnapshotOfVirtualSystem)
$items = @(foreach ($one in ($found | Sort-Object CreationTime)) {
    @{
        id = $one.InstanceID.Substring(10)
        machine_id = $machine.Name
        kind = if ($kinds[$one.VirtualSystemType]) { $kinds[$one.VirtualSystemType] } else { 'other' }
        name = $one.ElementName
        notes = [string]::Join([char]10, @($one.Notes))
        created_at = $one.CreationTime.ToUniversalTime().ToString('o')
    }
})
@{ items = $items }
