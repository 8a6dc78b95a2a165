-- A picture of a run, kept unless a newer state is known.
-- KEYS: what is known of the run; its picture. ARGV: number of the run's last event, revision,
-- milliseconds to keep the picture, the picture, milliseconds to know of it at least. Returns 1
-- when it was kept. publish.lua says which pictures are too old.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
end
local known = redis.call('HMGET', KEYS[1], 's', 'r')
local s, r = tonumber(known[1] or 0), tonumber(known[2] or 0)
local seq, revision = tonumber(ARGV[1]), tonumber(ARGV[2])
if s > seq or (s == seq and r > revision) then
  return 0
end
redis.call('HSET', KEYS[1], 's', ARGV[1], 'r', ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[3]), tonumber(ARGV[5])))
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
return 1
