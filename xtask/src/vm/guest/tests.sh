# Runs each line of /vm/plan, a test program and its arguments; ends with 1 if any failed.
status=0
while read -r line; do
    echo "==> $line"
    # shellcheck disable=SC2086 # the line is words
    tests/$line </dev/null || status=1
done </vm/plan
exit $status
