# holdfast-script: shadows
# version: 1
# effect: none
param($Arguments)
$folder = 'C:\ProgramData\Holdfast'
$found = @()
if (Test-Path $folder) { $found = @(Get-ChildItem $folder -Directory | ForEach-Object { $_.Name }) }
@{ items = @($found) }
