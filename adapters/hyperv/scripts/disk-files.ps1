# holdfast-script: disk-files
# version: 2
# effect: none
param($Arguments)
$service = Get-CimInstance -Namespace root/virtualization/v2 -ClassName Msvm_ImageManagementService
$formats = @{ '2' = 'vhd'; '3' = 'vhdx'; '4' = 'vhds' }
$items = @(foreach ($path in $Arguments.paths) {
    try {
        $got = Invoke-CimMethod -InputObject $service -MethodName GetVirtualHardDiskSettingData -Arguments @{ Path = $path }
        if (-not $got.SettingData) {
            @{ path = $path; header = $null; why = ('GetVirtualHardDiskSettingData: {0}' -f $got.ReturnValue) }
            continue
        }
        $told = @{}
        foreach ($property in ([xml]$got.SettingData).INSTANCE.PROPERTY) { $told[$property.NAME] = $property.VALUE }
        $header = @{
            path = $path
            virtual_disk_id = $told['VirtualDiskId']
            size_bytes = [uint64]$told['MaxInternalSize']
            parent_path = if ($told['ParentPath']) { $told['ParentPath'] } else { $null }
            format = $formats[[string]$told['Format']]
            sector_bytes = [uint32]$told['LogicalSectorSize']
        }
        @{ path = $path; header = $header; why = '' }
    } catch {
        @{ path = $path; header = $null; why = $_.Exception.Message }
    }
})
@{ items = $items }
