# holdfast-script: checkpoint-disks
# version: 1
# effect: none
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.checkpoint))
$checkpoint = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSettingData -Filter $named
if (-not $checkpoint) { Stop-Script 'not_found' 'checkpoint-missing' 'The checkpoint is not at this host.' }

$files = @(Get-CimAssociatedInstance -InputObject $checkpoint -ResultClassName Msvm_StorageAllocationSettingData)
$items = @(foreach ($one in $files) {
    if ($one.ResourceSubType -ne 'Microsoft:Hyper-V:Virtual Hard Disk' -or -not $one.HostResource) { continue }
    $place = [string]::Join('/', $one.InstanceID.Split('\')[1..3])
    @{ place = $place; path = $one.HostResource[0]; kind = 'file' }
})
@{ items = $items }
