-- wrk: one request for a key of KEYS, taken at random or, with ORDER=each, one after another. All are formatted beforehand.
local requests, next_one, each = {}, 0, os.getenv("ORDER") == "each"

function init(args)
   for key in io.lines(os.getenv("KEYS")) do
      requests[#requests + 1] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. key })
   end
   math.randomseed(20261121)
   collectgarbage("collect")
   collectgarbage("stop") -- to look at 100,000 texts again and again is the client's work, and not what is measured
end

function request()
   if each then
      next_one = next_one % #requests + 1
      return requests[next_one]
   end
   return requests[math.random(#requests)]
end
