# holdfast-script: changes
# version: 2
# effect: none
param($Arguments)
$service = Get-CimInstance -Namespace root/virtualization/v2 -ClassName Msvm_ImageManagementService
$got = Invoke-CimMethod -InputObject $service -MethodName GetVirtualDiskChanges -Arguments @{
    Path = $Arguments.path; LimitId = $Arguments.limit_id
    ByteOffset = [uint64]$Arguments.offset; ByteLength = [uint64]$Arguments.length
}
if ($got.ReturnValue -eq 32779) { Stop-Script 'not_found' 'file-missing' 'The host does not find the file.' }
if ($got.ReturnValue -ne 0) {
    Stop-Script 'conflict' 'changes-unknown' ('GetVirtualDiskChanges returned {0}.' -f $got.ReturnValue)
}
$starts = @($got.ChangedByteOffsets | Where-Object { $null -ne $_ })
$lengths = @($got.ChangedByteLengths | Where-Object { $null -ne $_ })
$processed = [uint64]$got.ProcessedByteLength
$count = $starts.Count
if ($count -gt $Arguments.most) {
    # Unsorted ranges cannot be cut at a place: sort first.
    $keys = [uint64[]]$starts
    $values = [uint64[]]$lengths
    [Array]::Sort($keys, $values)
    $starts = $keys
    $lengths = $values
    $count = $Arguments.most
    $processed = $starts[$count] - [uint64]$Arguments.offset
}
$ranges = @(for ($at = 0; $at -lt $count; $at++) { , @($starts[$at], $lengths[$at]) })
@{ processed = $processed; ranges = $ranges }
