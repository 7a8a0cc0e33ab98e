# holdfast-script: cluster-nodes
# version: 2
# effect: none
param($Arguments)
# Without the feature there is no namespace, without a cluster no provider; a user without rights is another thing.
$nodes = @()
try {
    $nodes = @(Get-CimInstance -Namespace root/MSCluster -ClassName MSCluster_Node)
} catch {
    if ([string]$_.Exception.NativeErrorCode -eq 'AccessDenied') { throw }
}
if (-not $nodes.Count) { Stop-Script 'invalid' 'cluster-missing' 'The host belongs to no cluster.' }
$words = @{ 0 = 'up'; 1 = 'down'; 2 = 'paused'; 3 = 'joining' }
$system = Get-CimInstance -ClassName Win32_ComputerSystem
$items = @(foreach ($node in $nodes) {
    $state = $words[[int]$node.State]
    @{
        name = $node.Name
        address = if ($system.PartOfDomain) { $node.Name + '.' + $system.Domain } else { $node.Name }
        state = if ($state) { $state } else { 'unknown' }
    }
})
@{ items = $items }
