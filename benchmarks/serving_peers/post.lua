-- wrk's script: every request has a seed of its own. Arguments: the body with %d for the seed, the first seed, the step.
-- Prints what it counted as one line of JSON, the last.
local body, seed, step

function init(args)
  body, seed, step = args[1], tonumber(args[2]), tonumber(args[3])
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  seed = seed + step
  return wrk.format(nil, nil, nil, string.format(body, seed))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"seconds": %f, "answers": %d, "p50": %f, "p90": %f, "p99": %f, "most": %f, ' ..
    '"refused": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.duration / 1e6, summary.requests,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
