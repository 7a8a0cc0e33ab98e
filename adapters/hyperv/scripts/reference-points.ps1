# holdfast-script: reference-points
# version: 1
# effect: none
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
$machine = Get-CimInstance -Namespace $scope -ClassName Msvm_ComputerSystem -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }

# Hosts before Windows Server 2016 do not have the class.
$kind = 'Msvm_VirtualSystemReferencePoint'
$points = @()
if (Get-CimClass -Namespace $scope -ClassName $kind -ErrorAction SilentlyContinue) {
    $points = @(Get-CimAssociatedInstance -InputObject $machine -ResultClassName $kind)
}
$items = @(foreach ($one in $points) {
    @{
        id = $one.InstanceID
        machine_id = $machine.Name
        disk_ids = @($one.VirtualDiskIdentifiers | Where-Object { $null -ne $_ })
        rct_ids = @($one.ResilientChangeTrackingIdentifiers | Where-Object { $null -ne $_ })
    }
})
@{ items = $items }
