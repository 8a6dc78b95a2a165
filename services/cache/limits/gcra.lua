-- Takes from several buckets at once, from all or from none. The same sums as gcra.rs.
-- KEYS: the buckets, each the moment at which it is full again, in microseconds; none when it is full.
-- ARGV: how many to take at most; then of each bucket its emission (microseconds) and its capacity.
-- Answers how many were taken, the time, and of each bucket the moment before.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local granted = tonumber(ARGV[1])
local answer = {0, now}
local function keep(key, tat)
  -- One millisecond more than is left: keys end by a clock of milliseconds, and none may end early.
  local ttl = math.ceil((tat - now) / 1000) + 1
  redis.call('SET', key, string.format('%.0f', tat), 'PX', string.format('%.0f', ttl))
end
for i, key in ipairs(KEYS) do
  local emission, capacity = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local full = now + emission * capacity
  local tat = tonumber(redis.call('GET', key) or now) or now
  if tat < now then
    tat = now
  elseif tat > full then
    tat = full
    keep(key, tat)
  end
  answer[i + 2] = tat
  granted = math.min(granted, math.floor((full - tat) / emission))
end
answer[1] = granted
if granted > 0 then
  for i, key in ipairs(KEYS) do
    keep(key, answer[i + 2] + tonumber(ARGV[2 * i]) * granted)
  end
end
return answer
