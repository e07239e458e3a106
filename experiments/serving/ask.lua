-- Closed-loop clients for wrk: each connection posts one text after another. The file with the bodies, a JSON object a line, is named in
-- the variable BODIES. At the end it prints what experiments/serving/load.py reads.
local requests, next_one = {}, 0
for body in io.lines((os.getenv("BODIES"))) do
  requests[#requests + 1] = wrk.format("POST", nil, {["Host"] = "127.0.0.1", ["Content-Type"] = "application/json"}, body)
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "milliseconds": [%f, %f, %f], "errors": {"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
