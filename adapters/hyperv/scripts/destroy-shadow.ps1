# holdfast-script: destroy-shadow
# version: 2
# effect: changes
param($Arguments)
if ($Arguments.name -notmatch '\A[A-Za-z0-9._-]+\z') { Stop-Script 'invalid' 'label' 'That is no name.' }
$folder = Join-Path 'C:\ProgramData\Holdfast' $Arguments.name
if (-not (Test-Path $folder)) { Stop-Script 'not_found' 'shadow-missing' 'There is no such shadow copy.' }

$places = @(Get-ChildItem $folder -Directory)
$lines = @(foreach ($place in $places) { 'DELETE SHADOWS EXPOSED {0}' -f $place.FullName })
$script = [IO.Path]::GetTempFileName()
[IO.File]::WriteAllLines($script, $lines)
$said = @(& diskshadow.exe /s $script)
Remove-Item $script
# Deletes empty folders only: what is still exposed in one is never deleted through it.
foreach ($place in $places) { [IO.Directory]::Delete($place.FullName) }
[IO.Directory]::Delete($folder)
@{ said = [string]::Join(' ', $said) }
