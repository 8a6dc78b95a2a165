-- Frames of one run, in order: kept in a stream and told to who listens. Redis itself refuses an
-- id that is not above all before it, so that a worker which lost its run cannot put a frame
-- after the first one of the next worker.
-- KEYS: the stream, which is also the channel; what is known of the run; its picture, void when it
-- is older than what is told here, also for who reads the run at the moment. ARGV: milliseconds to
-- keep the stream, most frames to keep, milliseconds to know of an event, number of the last
-- committed event among the frames or 0, then of each frame: its id, what is kept of it, what is
-- told. Returns how many were refused. A key that holds something else is in nobody's way.
local function only(key, kind)
  if redis.call('TYPE', key).ok ~= kind then
    redis.call('DEL', key)
  end
end
only(KEYS[1], 'stream')
local refused = 0
local committed = tonumber(ARGV[4])
if committed > 0 then
  only(KEYS[2], 'hash')
  if committed > tonumber(redis.call('HGET', KEYS[2], 's') or 0) then
    redis.call('DEL', KEYS[3])
    redis.call('HSET', KEYS[2], 's', ARGV[4], 'r', 0)
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  end
end
for i = 5, #ARGV, 3 do
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
