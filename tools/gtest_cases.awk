# One line for each test case of a GoogleTest XML report: passed, failed or skipped, a tab, Suite.Name.
function attribute(name,   text) {
  if (!match($0, " " name "=\"[^\"]*\"")) return ""
  text = substr($0, RSTART, RLENGTH)
  sub(/^[^"]*"/, "", text)
  sub(/"$/, "", text)
  return text
}
function flush() {
  if (test != "") print result "\t" test
  test = ""
}
/<testcase / {
  flush()
  test = attribute("classname") "." attribute("name")
  result = attribute("result") == "skipped" || attribute("status") == "notrun" ? "skipped" : "passed"
}
/<failure / { result = "failed" }
END { flush() }
