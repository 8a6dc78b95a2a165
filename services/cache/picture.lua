-- A picture of a run, kept unless a newer one is known. KEYS: the picture. ARGV: number of the run's last event, revision,
-- milliseconds to keep it, the picture. Returns 1 when it was kept. publish.lua says which pictures are too old.
local known = redis.call('HMGET', KEYS[1], 's', 'r')
local s, r = tonumber(known[1] or 0), tonumber(known[2] or 0)
local seq, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
if s > seq or (s == seq and r > revision) then
  return 0
end
redis.call('HSET', KEYS[1], 's', ARGV[1], 'r', ARGV[2], 'b', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
