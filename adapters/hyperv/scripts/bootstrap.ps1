# holdfast-script: bootstrap
# version: 1
# effect: none
# Goes in the command line, which is short: the script and its arguments come on standard input.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$WarningPreference = 'SilentlyContinue'
$sent = -join @($input)
$utf8 = New-Object System.Text.UTF8Encoding $false
$nonce = ''
function Stop-Script([string]$Kind, [string]$Code, [string]$Message) {
    $failure = New-Object System.Exception $Message
    $failure.Data['holdfast'] = @{ kind = $Kind; code = $Code }
    throw $failure
}
function ConvertTo-Wql([string]$Text) {
    '''' + $Text.Replace('\', '\\').Replace('''', '\''') + ''''
}
function Send-Answer($Answer) {
    # Windows PowerShell shows arrays that went through a pipeline as objects with a Count.
    Remove-TypeData System.Array -ErrorAction SilentlyContinue
    $json = ConvertTo-Json -InputObject $Answer -Depth 16 -Compress
    $encoded = [Convert]::ToBase64String($utf8.GetBytes($json))
    [Console]::Out.Write('HOLDFAST-BEGIN {0} {1}:{2}:HOLDFAST-END {0}', $nonce, $encoded.Length, $encoded)
    [Console]::Out.Flush()
}
try {
    $call = ConvertFrom-Json -InputObject $utf8.GetString([Convert]::FromBase64String($sent))
    $nonce = $call.nonce
    $got = @(& ([ScriptBlock]::Create($call.body)) $call.arguments)
    if ($got.Count -ne 1) { Stop-Script 'invalid' 'script-output' ('The script wrote {0} objects.' -f $got.Count) }
    Send-Answer @{ result = $got[0] }
} catch {
    $failure = $_.Exception
    while ($failure.InnerException -and -not $failure.Data['holdfast']) { $failure = $failure.InnerException }
    $own = $failure.Data['holdfast']
    $native = $failure.NativeErrorCode
    if (-not $native) { $native = $failure.ErrorCode }
    $hresult = $failure.StatusCode
    if (-not $hresult) { $hresult = $failure.HResult }
    Send-Answer @{ error = @{
        kind = $own.kind; code = $own.code; message = $failure.Message
        native = [string]$native; hresult = [long]$hresult; line = $_.InvocationInfo.ScriptLineNumber
    } }
    exit 1
}
