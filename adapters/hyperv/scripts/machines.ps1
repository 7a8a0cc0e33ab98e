# holdfast-script: machines
# version: 2
# effect: none
param($Arguments)
# With a machine, only that one; with planned, those that an import made and nobody realised yet.
$scope = 'root/virtualization/v2'
$type = if ($Arguments.planned) { 'Planned' } else { 'Realized' }
$condition = 'VirtualSystemType = ' + (ConvertTo-Wql ('Microsoft:Hyper-V:System:' + $type))
if ($Arguments.machine) { $condition += ' AND VirtualSystemIdentifier = ' + (ConvertTo-Wql $Arguments.machine) }
$settings = @(Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSettingData -Filter $condition)
$words = @{ 2 = 'running'; 3 = 'off'; 6 = 'saved'; 9 = 'paused'; 32768 = 'paused'; 32769 = 'saved' }
$states = @{}
foreach ($system in @(Get-CimInstance -Namespace $scope -ClassName Msvm_ComputerSystem)) {
    $states[$system.Name] = [int]$system.EnabledState
}
$files = @(Get-CimInstance -Namespace $scope -ClassName Msvm_StorageAllocationSettingData -Filter 'ResourceType = 31')
$drives = 'ResourceSubType = ''Microsoft:Hyper-V:Physical Disk Drive'''
$whole = @(Get-CimInstance -Namespace $scope -ClassName Msvm_ResourceAllocationSettingData -Filter $drives)
$disks = @{}
foreach ($one in ($files + $whole)) {
    if ($one.ResourceSubType -ne 'Microsoft:Hyper-V:Virtual Hard Disk' -and $one.ResourceType -eq 31) { continue }
    $parts = $one.InstanceID.Split('\')
    if ($parts.Count -ne 5 -or -not $one.HostResource) { continue }
    $kind = 'file'
    if ($one.PersistentReservationsSupported -or $one.HostResource[0] -like '*.vhds') { $kind = 'shared' }
    if ($one.ResourceType -ne 31) { $kind = 'passthrough' }
    $place = [string]::Join('/', $parts[1..3])
    $disks[$parts[0]] = @($disks[$parts[0]]) + @(@{ place = $place; path = $one.HostResource[0]; kind = $kind })
}
$items = @(foreach ($one in $settings) {
    $id = $one.VirtualSystemIdentifier
    $state = 'off'
    if ($states.ContainsKey($id)) { $state = if ($words[$states[$id]]) { $words[$states[$id]] } else { 'changing' } }
    # Join-Path fails on a drive that is gone, and with it the whole list.
    $paths = @()
    if ($one.ConfigurationFile) { $paths += [IO.Path]::Combine($one.ConfigurationDataRoot, $one.ConfigurationFile) }
    if ($one.GuestStateFile) { $paths += [IO.Path]::Combine($one.GuestStateDataRoot, $one.GuestStateFile) }
    @{
        id = $id
        name = $one.ElementName
        state = $state
        version = $one.Version
        node = $env:COMPUTERNAME
        notes = [string]::Join([char]10, @($one.Notes))
        configuration_files = $paths
        disks = @($disks['Microsoft:' + $id] | Where-Object { $_ })
    }
})
@{ items = $items }
