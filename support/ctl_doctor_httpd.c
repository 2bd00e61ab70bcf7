/* ctl_doctor_httpd.c: is httpd there, are the modules, does it load them, and does this server's configuration? httpd
 * itself is asked, first with a configuration that does nothing but load: a module refers to symbols of the server and
 * cannot be opened without it. */
#include "ctl_doctor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_thread_proc.h>

static const char *const rooms[] = { "", "_identity", "_limit", "_usage", "_observe" };
#define NROOMS ((int)(sizeof rooms / sizeof *rooms))

/* What Meterplex's modules need to be loaded before them, and an MPM. */
static const char *const needed[] = { "mpm_event", "unixd", "authn_core", "authz_core", "dbd", "watchdog" };

#define OUTPUT_MAX 16384 /* bytes that are kept */

/* Run a program without a shell. @param output both outputs, cut at OUTPUT_MAX @return exit status, or -1 */
static int run_program(apr_pool_t *pool, const char *const *argv, const char **output)
{
    apr_procattr_t *attributes;
    apr_proc_t process;
    apr_exit_why_e why;
    apr_file_t *read_end, *write_end;
    char *text = apr_palloc(pool, OUTPUT_MAX + 1), rest[512];
    apr_size_t got = 0, n;
    int status = -1;

    *output = "";
    /* one pipe for both: httpd says on its standard error what is wrong */
    if (apr_file_pipe_create(&read_end, &write_end, pool) != APR_SUCCESS
        || apr_procattr_create(&attributes, pool) != APR_SUCCESS
        || apr_procattr_child_out_set(attributes, write_end, NULL) != APR_SUCCESS
        || apr_procattr_child_err_set(attributes, write_end, NULL) != APR_SUCCESS
        || apr_procattr_cmdtype_set(attributes, APR_PROGRAM_ENV) != APR_SUCCESS) {
        return -1;
    }
    if (apr_procattr_error_check_set(attributes, 1) != APR_SUCCESS
        || apr_proc_create(&process, argv[0], argv, NULL, attributes, pool) != APR_SUCCESS) {
        return -1;
    }
    apr_file_close(write_end);
    while (n = OUTPUT_MAX - got, got < OUTPUT_MAX && apr_file_read(read_end, text + got, &n) == APR_SUCCESS) {
        got += n;
    }
    while (n = sizeof rest, apr_file_read(read_end, rest, &n) == APR_SUCCESS) {
    }
    apr_file_close(read_end);
    text[got] = '\0';
    *output = text;
    apr_proc_wait(&process, &status, &why, APR_WAIT);
    return APR_PROC_CHECK_EXIT(why) ? status : -1;
}

static const char *first_line(apr_pool_t *pool, const char *text)
{
    return apr_pstrndup(pool, text, strcspn(text, "\n"));
}

/* The line that holds a text, or NULL. */
static const char *line_with(apr_pool_t *pool, const char *text, const char *part)
{
    const char *found = strstr(text, part);
    if (found == NULL) {
        return NULL;
    }
    while (found > text && found[-1] != '\n') {
        found--;
    }
    return first_line(pool, found);
}

static const char *next_line(const char *text)
{
    text += strcspn(text, "\n");
    return *text ? text + 1 : text;
}

/* Does a line of httpd's say nothing of a fault? */
static int is_harmless(const char *line)
{
    static const char *const said[] = {
        "AH00557:", /* no address for the host's name */
        "AH00558:", /* no ServerName */
        "AH00014:", /* the check has failed: what did it has said so itself */
        "Warning:", /* of a start without a log: a directive without effect, for instance */
        ":warn]",   /* of a line as the error log has it */
        ":notice]",
        ":info]",
        ":debug]",
    };
    size_t i;

    for (i = 0; i < sizeof said / sizeof *said; i++) {
        if (strstr(line, said[i])) {
            return 1;
        }
    }
    return line[strspn(line, " \t\r")] == '\0';
}

/* What httpd says is wrong, in one line: a syntax error with its reason, which may stand in the line after it, or else the
 * first line that is more than a warning. */
static const char *fault(apr_pool_t *pool, const char *output)
{
    const char *line = strstr(output, "Syntax error on line "), *said;

    if (line) {
        said = first_line(pool, line);
        line = next_line(line);
        return said[strlen(said) - 1] == ':' && *line ? apr_pstrcat(pool, said, " ", first_line(pool, line), NULL) : said;
    }
    for (line = output; *line; line = next_line(line)) {
        said = first_line(pool, line);
        if (!is_harmless(said)) {
            return said;
        }
    }
    return *output ? first_line(pool, output) : "it does not say why";
}

static int program_is_there(doctor_t *d)
{
    const char *const argv[] = { d->httpd, "-v", NULL };
    const char *output, *version;

    if (run_program(d->ctl->pool, argv, &output) != 0) {
        doctor_say(d, FOUND_WRONG, "httpd",
                   "%s cannot be run; install Apache httpd 2.4 (Debian: apache2), or name it with --httpd",
                   d->httpd);
        return 0;
    }
    version = strstr(output, "Apache/");
    if (version == NULL) {
        doctor_say(d, FOUND_WRONG, "httpd", "%s is not Apache httpd: asked for its version (-v), it does not say so; name "
                                            "httpd with --httpd",
                   d->httpd);
        return 0;
    }
    doctor_say(d, FOUND_OK, "httpd", "%s, %s", d->httpd, first_line(d->ctl->pool, version));
    return 1;
}

static int modules_are_there(doctor_t *d)
{
    const char *missing = NULL;
    int i;

    for (i = 0; i < NROOMS; i++) {
        const char *name = apr_pstrcat(d->ctl->pool, "mod_meterplex", rooms[i], ".so", NULL);
        if (access(apr_pstrcat(d->ctl->pool, d->modules, "/", name, NULL), R_OK) != 0) {
            missing = apr_pstrcat(d->ctl->pool, missing ? missing : "", missing ? ", " : "", name, NULL);
        }
    }
    if (missing) {
        doctor_say(d, FOUND_WRONG, "modules", "%s: %s not found; make install, or name the directory with --modules",
                   d->modules, missing);
    }
    return missing == NULL;
}

static const char *load_lines(doctor_t *d)
{
    apr_pool_t *pool = d->ctl->pool;
    const char *conf = "";
    int i;

    for (i = 0; i < (int)(sizeof needed / sizeof *needed); i++) {
        conf = apr_psprintf(pool,
                            "%s<IfModule !%s_module>\n<IfFile \"%s/mod_%s.so\">\nLoadModule %s_module \"%s/mod_%s.so\"\n"
                            "</IfFile>\n</IfModule>\n",
                            conf, needed[i], CTL_HTTPD_MODULEDIR, needed[i], needed[i], CTL_HTTPD_MODULEDIR, needed[i]);
    }
    for (i = 0; i < NROOMS; i++) {
        conf = apr_psprintf(pool, "%sLoadModule meterplex%s_module \"%s/mod_meterplex%s.so\"\n", conf, rooms[i], d->modules,
                            rooms[i]);
    }
    return conf;
}

/* Only loading is judged here: without a key file and a database the modules refuse to run, and say so themselves. */
static void modules_are_loadable(doctor_t *d)
{
    apr_pool_t *pool = d->ctl->pool;
    const char *output = "", *problem, *directory, *conf;
    char template[] = "/tmp/meterplexctl.XXXXXX";
    const char *argv[] = { d->httpd, "-t", "-f", NULL, NULL };
    apr_file_t *file;
    apr_size_t len;
    int status = -1;

    directory = mkdtemp(template);
    if (directory == NULL) {
        doctor_say(d, FOUND_ADVICE, "modules", "not tried: no directory can be made under /tmp");
        return;
    }
    argv[3] = apr_pstrcat(pool, directory, "/httpd.conf", NULL);
    conf = apr_psprintf(pool,
                        "ServerRoot \"%s\"\nDefaultRuntimeDir \"%s\"\nServerName 127.0.0.1\nErrorLog \"%s/error.log\"\n%s",
                        directory, directory, directory, load_lines(d));
    len = strlen(conf);
    if (apr_file_open(&file, argv[3], APR_FOPEN_CREATE | APR_FOPEN_EXCL | APR_FOPEN_WRITE,
                      APR_FPROT_UREAD | APR_FPROT_UWRITE, pool)
        == APR_SUCCESS) {
        apr_file_write_full(file, conf, len, NULL);
        apr_file_close(file);
        status = run_program(pool, argv, &output);
        apr_file_remove(argv[3], pool);
    }
    apr_file_remove(apr_pstrcat(pool, directory, "/error.log", NULL), pool);
    apr_dir_remove(directory, pool);
    problem = line_with(pool, output, "Cannot load");
    problem = problem ? problem : line_with(pool, output, "Can't locate API module structure");
    if (problem) {
        doctor_say(d, FOUND_WRONG, "modules", "httpd cannot load them: %s; build them for this httpd (--with-apxs)",
                   problem);
    }
    else if (status != 0 && strstr(output, "MeterplexKeyFile") == NULL) {
        /* loaded, they refuse to run for want of a key file; whatever else ends httpd is worth its own words */
        doctor_say(d, FOUND_WRONG, "modules", "httpd ends while it loads them: %s", fault(pool, output));
    }
    else {
        doctor_say(d, FOUND_OK, "modules", "%s, loaded by this httpd", d->modules);
    }
}

/* The program that reads this server's configuration as its start does: Debian's needs the environment of apachectl. */
static const char *const *dump_modules(doctor_t *d)
{
    apr_pool_t *pool = d->ctl->pool;
    const char **argv = apr_pcalloc(pool, 8 * sizeof *argv), *slash = strrchr(d->httpd, '/');
    const char *directory = slash ? apr_pstrmemdup(pool, d->httpd, (apr_size_t)(slash - d->httpd)) : NULL;
    const char *control = directory ? apr_pstrcat(pool, directory, "/apachectl", NULL) : NULL;

    argv[0] = d->conf == NULL && control && access(control, X_OK) == 0 ? control : d->httpd;
    argv[1] = "-t";
    argv[2] = "-D";
    argv[3] = "DUMP_MODULES";
    argv[4] = d->conf ? "-f" : NULL;
    argv[5] = d->conf;
    return argv;
}

/* What the server would really start with. */
static void configuration_is_right(doctor_t *d)
{
    apr_pool_t *pool = d->ctl->pool;
    const char *output, *missing = NULL;
    int status = run_program(pool, dump_modules(d), &output), loaded = 0, i;

    for (i = 0; i < NROOMS; i++) {
        const char *name = apr_pstrcat(pool, "meterplex", rooms[i], "_module", NULL);
        if (strstr(output, apr_pstrcat(pool, " ", name, " ", NULL))) {
            loaded++;
        }
        else {
            missing = apr_pstrcat(pool, missing ? missing : "", missing ? ", " : "", name, NULL);
        }
    }
    if (d->conf && access(d->conf, R_OK) != 0) {
        doctor_say(d, FOUND_WRONG, "configuration", "%s cannot be read: %s", d->conf, strerror(errno));
    }
    else if (strstr(output, "ould not open configuration file") || (d->conf == NULL && geteuid() != 0)) {
        doctor_say(d, FOUND_ADVICE, "configuration", "not looked at: %s; name the file with --conf",
                   geteuid() == 0 ? fault(pool, output) : "only root can read all of it");
    }
    else if (status != 0) {
        doctor_say(d, FOUND_WRONG, "configuration", "httpd would not start with it: %s", fault(pool, output));
    }
    else if (loaded == 0) {
        doctor_say(d, FOUND_ADVICE, "configuration", "it loads none of Meterplex's modules yet: LoadModule lines, or "
                                                     "a2enmod");
    }
    else if (missing) {
        doctor_say(d, FOUND_WRONG, "configuration", "it does not load %s: add LoadModule lines, or a2enmod", missing);
    }
    else {
        doctor_say(d, FOUND_OK, "configuration", "%s loads every module", d->conf ? d->conf : "httpd's");
    }
}

void doctor_httpd(doctor_t *d)
{
    if (program_is_there(d)) {
        if (modules_are_there(d)) {
            modules_are_loadable(d);
        }
        configuration_is_right(d);
    }
}
