/* ctl_commands.c: the list of commands and their help. */
#include "ctl.h"

const ctl_command_t ctl_commands[] = {
    { "migrate", "[--dir DIR] [--dry-run] [--wait SECONDS] [--lock-timeout SECONDS]",
      "bring the schema of the database up to date",
      "  --dir DIR               where the migrations lie (--migrations says the same)\n"
      "  --dry-run               say what would run\n"
      "  --wait SECONDS          for another migrate on this database to end (60)\n"
      "  --lock-timeout SECONDS  for a table that is in use (10)\n"
      "\n"
      "Connect as superuser, as owner of the database or as a member of meterplex_owner. Repeating it is harmless.\n"
      "\n"
      "  meterplexctl migrate --database postgresql://postgres@127.0.0.1/meterplex\n",
      ctl_migrate },
    { "keygen", "FILE", "make a root key",
      "32 random bytes, mode 0600; a file that exists is never overwritten.\n"
      "\n"
      "  meterplexctl keygen /etc/meterplex/root.key\n",
      ctl_keygen },
    { "doctor", "[--httpd FILE] [--modules DIR] [--dir DIR]", "check the installation and say what to do",
      "  --httpd FILE   the server's program\n"
      "  --modules DIR  where its modules lie\n"
      "  --dir DIR      where the migrations lie\n"
      "\n"
      "Give --database as httpd has it in DBDParams: what its role may do is what is checked.\n"
      "\n"
      "  meterplexctl doctor --database \"host=/run/postgresql dbname=meterplex user=meterplex\" \\\n"
      "      --key-file /etc/meterplex/root.key --state-dir /var/lib/meterplex\n",
      ctl_doctor },
    { "status", "[--tenants] [--url URL]", "show what there is: schema, tenants, keys, events",
      "  --tenants  a line for each tenant\n"
      "  --url URL  is httpd there? http://host:port\n"
      "\n"
      "  meterplexctl status --url http://127.0.0.1:8080\n",
      ctl_status },
    { NULL, NULL, NULL, NULL, NULL },
};
