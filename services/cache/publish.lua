-- Frames of one run, in order: kept in a stream and told to who listens. Redis itself refuses an
-- id that is not above all before it, so that a worker which lost its run cannot put a frame
-- after the first one of the next worker.
-- KEYS: the stream, which is also the channel. ARGV: milliseconds to keep it, most frames to keep,
-- then of each frame: its id, what is kept of it, what is told. Returns how many were refused.
local refused = 0
for i = 3, #ARGV, 3 do
  local kept = ARGV[i + 1] == '=' and ARGV[i + 2] or ARGV[i + 1]
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[i], 'f', kept)
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then
      return added
    end
    refused = refused + 1
  else
    redis.call('PUBLISH', KEYS[1], ARGV[i + 2])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return refused
