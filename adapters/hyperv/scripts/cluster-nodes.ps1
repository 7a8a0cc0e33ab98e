# holdfast-script: cluster-nodes
# version: 1
# effect: none
param($Arguments)
$nodes = @(Get-CimInstance -Namespace root/MSCluster -ClassName MSCluster_Node -ErrorAction SilentlyContinue)
if (-not $nodes.Count) { Stop-Script 'invalid' 'cluster-missing' 'The host belongs to no cluster.' }
$words = @{ 0 = 'up'; 1 = 'down'; 2 = 'paused'; 3 = 'joining' }
$domain = (Get-CimInstance -ClassName Win32_ComputerSystem).Domain
$items = @(foreach ($node in $nodes) {
    $state = $words[[int]$node.State]
    @{
        name = $node.Name
        address = if ($domain) { $node.Name + '.' + $domain } else { $node.Name }
        state = if ($state) { $state } else { 'unknown' }
    }
})
@{ items = $items }
