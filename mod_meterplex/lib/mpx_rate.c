/* mpx_rate.c: see mpx_rate.h. */
#include "mpx_rate.h"

#include <string.h>

#include <apr_strings.h>

#define NS APR_UINT64_C(1000000000)

static unsigned period_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned seconds;
    } periods[] = {
        { "s", 1 },
        { "sec", 1 },
        { "second", 1 },
        { "m", 60 },
        { "min", 60 },
        { "minute", 60 },
        { "h", 3600 },
        { "hour", 3600 },
        { "d", 86400 },
        { "day", 86400 },
    };
    apr_size_t i;
    for (i = 0; i < sizeof periods / sizeof *periods; i++) {
        if (strcmp(periods[i].name, name) == 0) {
            return periods[i].seconds;
        }
    }
    return 0;
}

const char *mpx_rate_parse(apr_pool_t *pool, const char *text, mpx_rate_t *rate)
{
    const char *at = text;
    apr_uint64_t count = 0;
    unsigned period;

    for (; *at >= '0' && *at <= '9'; at++) {
        count = count > MPX_RATE_MAX_COUNT ? count : count * 10 + (apr_uint64_t)(*at - '0');
    }
    if (at == text || *at != '/' || (period = period_of(at + 1)) == 0) {
        return apr_psprintf(pool, "\"%s\" is not a rate; write it as 100/s, 1000/min, 5/h or 10/d", text);
    }
    if (count < 1 || count > MPX_RATE_MAX_COUNT) {
        return apr_psprintf(pool, "\"%s\": a rate is from 1 to 1000000000 for each period", text);
    }
    rate->count = rate->burst = count;
    rate->period = period;
    return NULL;
}

apr_uint64_t mpx_rate_interval(const mpx_rate_t *rate)
{
    return (rate->period * NS + rate->count - 1) / rate->count;
}

int mpx_rate_fits(const mpx_rate_t *rate)
{
    return rate->burst <= MPX_RATE_HORIZON / mpx_rate_interval(rate);
}

apr_uint64_t mpx_rate_charge(const mpx_rate_t *rate, apr_uint64_t cost)
{
    apr_uint64_t charge;
    if (__builtin_mul_overflow(cost, mpx_rate_interval(rate), &charge) || charge > MPX_RATE_HORIZON) {
        return MPX_RATE_HORIZON;
    }
    return charge;
}

void mpx_gcra_decide(const mpx_rate_t *rate, apr_uint64_t tat, apr_uint64_t now, apr_uint64_t cost, mpx_gcra_t *out)
{
    apr_uint64_t interval = mpx_rate_interval(rate), capacity = mpx_rate_charge(rate, rate->burst);
    apr_uint64_t used = tat > now ? tat - now : 0, charge = mpx_rate_charge(rate, cost), left;

    /* A time further ahead than a full burst is one whose clock is ahead: no key is under two rates. It counts as full. */
    if (used > capacity) {
        used = capacity;
    }
    out->allowed = cost <= rate->burst && charge <= capacity - used;
    out->retry_after = 0;
    out->tat = tat;
    if (out->allowed) {
        used += charge;
        if (cost) {
            out->tat = now + used;
        }
    }
    else {
        out->retry_after = cost > rate->burst ? APR_UINT64_MAX : charge - (capacity - used);
    }
    left = (capacity - used) / interval;
    out->remaining = left > rate->burst ? rate->burst : left;
    out->reset_after = used;
}

apr_uint64_t mpx_rate_never(const mpx_rate_t *rate, const mpx_gcra_t *result)
{
    apr_uint64_t period = rate->period * NS;
    return result->reset_after > period ? result->reset_after : period;
}
