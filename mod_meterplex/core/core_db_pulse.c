/* core_db_pulse.c: is the database there? A thread of each child asks for a sign of life while statements are waited for, on
 * a connection of its own: mod_dbd's may all be in use, by the very requests that hang. When it fails, every waiting request
 * ends at once and new ones are refused at once, until the pulse is felt again and the opener has got a connection: a server
 * that answers and has no room for us is as good as away.
 */
#include "core_db_pool.h"

#include "apr_strings.h"

#include "core_sql.h"

#define PULSE_DEADLINE apr_time_from_msec(400)
#define CONNECT_DEADLINE apr_time_from_sec(2) /* a connection takes several round trips, and the database may be far away */
/* what is enough where the database is far away, in round trips: */
#define PULSE_TRIPS 2
#define CONNECT_TRIPS 8
#define TRIP_SMOOTHING 4                  /* a new one counts for a quarter */
#define SETTLING apr_time_from_sec(5)     /* after it went or came: connections are made, the server recovers */
#define QUIET_TURNS 5                     /* while nothing is asked of the database, the pulse is taken once a second */
#define ACCESS_TURNS 25                   /* and what it lets us do once in five; a multiple */
#define PULSE_NAME "meterplex pulse"      /* what an administrator sees in pg_stat_activity */
#define VERDICT_WAIT apr_time_from_sec(3) /* for a pulse that says: there, or away; it says so within far less */

/* Gauges live in the shared segment: what one child sets, all of the node read. */
static mpx_metric_t metric_up = -1;     /* what the child that looked last has seen */
static mpx_metric_t metric_access = -1; /* a core_db_access_e */
static mpx_metric_t metric_trip = -1;   /* round trips to PostgreSQL, microseconds, smoothed; 0: not known */

void core_db_metrics_open(void)
{
    core_db_pool_metrics_open();
    metric_up = mpx_metric_gauge("meterplex_database_up", "1 while PostgreSQL answers, as the child that looked last "
                                                          "has seen it.",
                                 NULL);
    metric_trip = mpx_metric_gauge_seconds("meterplex_database_round_trip_seconds",
                                           "Time that PostgreSQL takes to answer the simplest statement, smoothed.", NULL);
    metric_access = mpx_metric_gauge("meterplex_database_access",
                                     "What PostgreSQL lets us do: 2 read and write, 1 only read, 0 not even that.", NULL);
    mpx_metric_set(metric_up, 1); /* until somebody has looked */
    mpx_metric_set(metric_access, CORE_DB_WRITES);
}

int core_db_seen_down(void)
{
    return mpx_database_down() || (metric_up >= 0 && mpx_metric_value(metric_up) == 0);
}

apr_interval_time_t core_db_round_trip(void)
{
    return metric_trip >= 0 ? mpx_metric_value(metric_trip) : 0;
}

core_db_access_e core_db_access(void)
{
    return metric_access >= 0 ? (core_db_access_e)mpx_metric_value(metric_access) : CORE_DB_WRITES;
}

int core_db_alone_down(void)
{
    return mpx_database_down() && mpx_metric_value(metric_up) == 1;
}

void core_db_set_down(core_db_pool_t *p, int down, const char *why)
{
    core_db_pool_lock(p);
    if (p->down != down && !(p->stopping && !down)) { /* who ends has told its jobs so for good */
        mpx_metric_set(metric_up, !down);
        p->down = down;
        p->proof = 0;
        p->refusals = p->refused != 0;
        __atomic_store_n(&p->trouble, mpx_monotonic(), __ATOMIC_RELAXED);
        ap_log_error(APLOG_MARK, down ? APLOG_ERR : APLOG_NOTICE, 0, p->server, "database %s (%s)",
                     down ? "is away" : "is back", why);
    }
    apr_thread_cond_broadcast(p->available);
    apr_thread_cond_broadcast(p->verdict);
    core_db_pool_unlock(p);
}

/* --- How long is too long --- */

/* The round trips are of the whole node, so that a child that has just begun knows what is far and what hangs; and of each
 * answer to a pulse, so that one bad moment is forgotten. */
apr_interval_time_t core_db_stretched(apr_interval_time_t enough, int trips)
{
    apr_interval_time_t far = mpx_metric_value(metric_trip) * trips;

    far = far < CONNECT_DEADLINE ? far : CONNECT_DEADLINE;
    return far > enough ? far : enough;
}

/* Children that do so at once may lose one of the two; the next comes within a second. */
static void note_trip(apr_interval_time_t took)
{
    apr_interval_time_t old = mpx_metric_value(metric_trip);

    mpx_metric_set(metric_trip, old ? old + (took - old) / TRIP_SMOOTHING : took > 0 ? took
                                                                                     : 1);
}

/* As far as nobody knows, and while the database is looked for, it may be far away. */
static apr_interval_time_t connect_deadline(const core_db_pool_t *p)
{
    int known = !p->down && mpx_metric_value(metric_trip) != 0;

    return known ? core_db_stretched(PULSE_DEADLINE, CONNECT_TRIPS) : CONNECT_DEADLINE;
}

/* A name server that says nothing holds up libpq's connect for as long as the resolver likes, the pulse with it: then
 * whoever waits for a connection in vain is the one to say so. It is back by the pulse's own word. */
void core_db_judge_pulse(core_db_pool_t *p)
{
    apr_time_t since = __atomic_load_n(&p->looking, __ATOMIC_RELAXED);

    /* by its own deadlines it asks the old connection, makes a new one, and asks that */
    if (since
        && mpx_monotonic() - since
            > 2 * core_db_stretched(PULSE_DEADLINE, PULSE_TRIPS) + connect_deadline(p) + PULSE_INTERVAL) {
        core_db_set_down(p, 1, "looking for it has not come to an end: does the name server answer?");
    }
}

/* For waits that are no request's: on whether the database is there they must not depend. */
static int until_the_end(mpx_db_source_t *self)
{
    return !core_db_stopping();
}

static mpx_db_source_t unconcerned = { NULL, NULL, until_the_end, NULL, 0 };

core_db_wait_t core_db_brief(void)
{
    core_db_wait_t wait = { core_db_stretched(PULSE_DEADLINE, PULSE_TRIPS), &unconcerned };
    return wait;
}

static int answers_to(mpx_db_t *db, apr_pool_t *pool, const char *sql)
{
    core_db_wait_t wait = core_db_brief();
    apr_time_t begun = mpx_monotonic();
    core_db_error_t error;

    if (core_db_script(db, pool, &wait, sql, &error) != CORE_DB_OK) {
        return 0;
    }
    note_trip(mpx_monotonic() - begun);
    return 1;
}

int core_db_answers(mpx_db_t *db, apr_pool_t *pool)
{
    return answers_to(db, pool, "SELECT 1");
}

/* --- The thread --- */

static void heart_set(core_db_pool_t *p, mpx_db_t *heart, apr_pool_t *own)
{
    mpx_db_t *old = p->heart;
    apr_pool_t *old_pool = p->heart_pool;

    core_db_pool_lock(p);
    p->heart = heart;
    p->heart_pool = own;
    core_db_pool_unlock(p);
    if (old) {
        core_db_close(old);
        apr_pool_destroy(old_pool);
    }
}

typedef enum pulse { NO_PULSE,
                     PULSE,
                     NO_ROOM } pulse_e; /* NO_ROOM: the server is there and takes no more connections */

static mpx_db_t *connect_one(core_db_pool_t *p, apr_pool_t *pool, const char **error, int *full)
{
    core_db_wait_t wait = { connect_deadline(p), &unconcerned };

    return core_db_connect_params(pool, p->params, &wait, error, full);
}

/* Make the heart, or replace one that has stopped. It needs none of mod_dbd's connections: those may all be in use,
 * by the very requests that hang.
 * @param why  set when there is no pulse */
static pulse_e heart_make(core_db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    apr_pool_t *own;
    mpx_db_t *fresh;
    const char *error;
    int full;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL); /* gone with it, or with the failure to make it */
    fresh = connect_one(p, own, &error, &full);
    if (fresh == NULL) {
        *why = apr_pstrdup(scratch, error);
        apr_pool_destroy(own);
    }
    heart_set(p, fresh, fresh ? own : NULL);
    if (fresh && answers_to(fresh, scratch, "SET application_name = '" PULSE_NAME "'")) {
        return PULSE;
    }
    return full ? NO_ROOM : NO_PULSE;
}

/* A connection that was closed under us (an administrator ended it, a server restarted in between) says nothing of the
 * database yet: it is made anew once. One that is silent to the deadline has said enough. */
static pulse_e feel(core_db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    apr_time_t begun = mpx_monotonic();

    if (p->heart && core_db_usable(p->heart)) {
        if (core_db_answers(p->heart, scratch)) {
            return PULSE;
        }
        if (mpx_monotonic() - begun > core_db_stretched(PULSE_DEADLINE, PULSE_TRIPS) / 2) {
            return NO_PULSE;
        }
    }
    return heart_make(p, scratch, why);
}

/* A server that has no room for a pulse says that it is there: that is enough for who has connections to it. */
static pulse_e look(core_db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    pulse_e pulse = feel(p, scratch, why);
    return pulse == NO_ROOM && core_db_pool_usable(p) == 0 ? NO_PULSE : pulse;
}

/* Whoever has seen the database away may not be there any more. Against that stands who has a connection, or gets one. */
static void speak_up(core_db_pool_t *p)
{
    core_db_pool_lock(p);
    if (p->open > 0 && !p->down) {
        mpx_metric_set(metric_up, 1);
    }
    else if (mpx_metric_value(metric_up) == 0) {
        p->proof = 1;
        apr_thread_cond_signal(p->wanted);
    }
    core_db_pool_unlock(p);
}

/* Who looks at the log only must not have to guess why everything is a 503. */
static void note_access(core_db_pool_t *p, core_db_access_e access)
{
    core_db_access_e before = core_db_access();

    mpx_metric_set(metric_access, access);
    if (access == CORE_DB_NOTHING && before != CORE_DB_NOTHING) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, p->server,
                     "database: the role lacks rights, or the schema migrations that this build needs (meterplexctl "
                     "migrate); meterplexctl doctor says more");
    }
}

/* Of a standby they cannot be recorded, and need not be: it has them from where it is written to. */
static void note_root_keys(core_db_pool_t *p, apr_pool_t *scratch, mpx_param_t keys, mpx_rootkey_standing_e standing)
{
    core_db_wait_t wait = core_db_brief();
    mpx_param_t params[] = { keys, mpx_param_bool(0) };
    core_db_error_t error;

    core_rootkey_watch_note(p->server, standing);
    if (standing == MPX_ROOTKEY_NEW && core_db_access() == CORE_DB_WRITES) {
        /* when that fails the next look finds them missing still */
        (void)core_db_exec(p->heart, scratch, &wait, SQL_root_keys_record, params, 2, NULL, &error);
    }
}

/* A server that answers may be a standby by now, or have taken a right away, and the root keys may be another
 * installation's: nobody's request is needed to find out. */
static void look_at_access(core_db_pool_t *p, apr_pool_t *scratch)
{
    core_db_wait_t wait = core_db_brief();
    mpx_param_t params[] = { mpx_param_int(scratch, MPX_SCHEMA_VERSION), core_rootkey_watch_param(scratch) };
    core_db_error_t error;
    mpx_rows_t *rows;

    if (p->heart == NULL || !core_db_usable(p->heart)) {
        return;
    }
    switch (core_db_exec(p->heart, scratch, &wait, SQL_access, params, 2, &rows, &error)) {
    case CORE_DB_OK:
        note_access(p, (core_db_access_e)mpx_rows_int(rows, 0, 0));
        note_root_keys(p, scratch, params[1], (mpx_rootkey_standing_e)mpx_rows_int(rows, 0, 1));
        break;
    case CORE_DB_ERROR: /* no such table or schema, or no right to it (classes 42, 3F); anything else will pass */
        if (strncmp(error.state, "42", 2) == 0 || strncmp(error.state, "3F", 2) == 0) {
            note_access(p, CORE_DB_NOTHING);
        }
        break;
    case CORE_DB_LOST:
    default:
        break; /* the next pulse has its say */
    }
}

static void note_felt(core_db_pool_t *p, apr_time_t begun)
{
    core_db_pool_lock(p);
    p->felt = begun;
    apr_thread_cond_broadcast(p->verdict);
    core_db_pool_unlock(p);
}

/* What the pulse says while the database is down. */
static void look_for(core_db_pool_t *p, apr_pool_t *scratch)
{
    const char *why;
    int found;

    if (!p->proof) {
        core_db_pool_discard_idle(p);
    }
    found = feel(p, scratch, &why) == PULSE;
    core_db_pool_lock(p);
    p->proof = found && p->down;
    apr_thread_cond_signal(p->wanted);
    core_db_pool_unlock(p);
}

/* A child that ends does not wait for it. */
static void rest(core_db_pool_t *p)
{
    core_db_pool_lock(p);
    if (!p->stopping) {
        apr_thread_cond_timedwait(p->end, p->mutex, PULSE_INTERVAL);
    }
    core_db_pool_unlock(p);
}

void *APR_THREAD_FUNC core_db_pulse_main(apr_thread_t *thread, void *data)
{
    core_db_pool_t *p = data;
    apr_pool_t *scratch;
    pulse_e pulse = PULSE;
    apr_time_t begun = 0;
    unsigned turn;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    for (turn = 0; !p->stopping; turn++) {
        int awaited = p->borrowed > 0 || p->waiting > 0 || p->doubting > 0;
        if (p->down) {
            look_for(p, scratch);
        }
        else if ((awaited && pulse != NO_ROOM) || turn % QUIET_TURNS == 0) {
            const char *why = "no sign of life";
            begun = mpx_monotonic();
            __atomic_store_n(&p->looking, begun, __ATOMIC_RELAXED);
            pulse = look(p, scratch, &why);
            __atomic_store_n(&p->looking, 0, __ATOMIC_RELAXED);
            if (pulse != NO_PULSE) {
                note_felt(p, begun);
                speak_up(p);
                if (turn % ACCESS_TURNS == 0) {
                    look_at_access(p, scratch);
                }
            }
            /* A pulse that fails while statements succeed is about its own connection. */
            else if (p->last_ok < begun) {
                core_db_set_down(p, 1, why);
            }
        }
        apr_pool_clear(scratch);
        if (p->down || pulse != NO_PULSE || mpx_monotonic() - begun < PULSE_INTERVAL) {
            rest(p); /* else it has been waited for long enough */
        }
    }
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- What the rest of the server asks --- */

int mpx_database_down(void)
{
    return core_db_pool == NULL || core_db_pool->down;
}

int mpx_database_answers(apr_time_t since)
{
    core_db_pool_t *p = core_db_pool;
    apr_time_t deadline = mpx_monotonic() + VERDICT_WAIT;
    int answers;

    if (p == NULL) {
        return 0;
    }
    core_db_pool_lock(p);
    p->doubting++;
    while (!(answers = p->felt >= since || p->last_ok >= since) && !p->down && !p->stopping && mpx_monotonic() < deadline) {
        apr_thread_cond_timedwait(p->verdict, p->mutex, deadline - mpx_monotonic());
    }
    p->doubting--;
    answers = answers || !p->down;
    core_db_pool_unlock(p);
    return answers;
}

int mpx_database_unsettled(void)
{
    apr_time_t trouble = core_db_pool ? __atomic_load_n(&core_db_pool->trouble, __ATOMIC_RELAXED) : 0;

    return mpx_database_down() || (trouble && mpx_monotonic() - trouble < SETTLING);
}

mpx_db_t *core_db_extra(apr_pool_t *pool)
{
    const char *error;
    int full;
    return connect_one(core_db_pool, pool, &error, &full);
}
