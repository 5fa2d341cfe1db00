/* `trm`: the command-line tool around libtrm. Finds the subcommand and makes sure that what it
 * printed really got out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "trm/streams.h"

static const cli_command *const commands[] = {&cmd_solve, &cmd_eval, &cmd_gen, &cmd_train,
    &cmd_info, &cmd_import, &cmd_average, &cmd_split, &cmd_join, &cmd_forward, &cmd_grad,
    &cmd_bench, NULL};

static void print_usage(FILE *to) {
    fputs("Usage: trm COMMAND [OPTION...]\n\nTiny Recursive Models: solve puzzles, measure, "
          "train, import.\n\nCommands:\n",
        to);
    for (int i = 0; commands[i]; i++)
        fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`trm COMMAND --help` tells the options of each.\n"
          "Exit codes: 0 done, 2 bad input, 1 the machine failed (memory, disk, device).\n",
        to);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        fputs("trm: missing command (see trm --help)\n", stderr);
        return CLI_BAD_INPUT;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("trm " TRM_VERSION);
        return CLI_OK;
    }
    for (int i = 0; commands[i]; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    fprintf(stderr, "trm: unknown %s %s (see trm --help)\n",
        argv[1][0] == '-' ? "option" : "command", argv[1]);
    return CLI_BAD_INPUT;
}

int main(int argc, char **argv) {
    trm_streams_hold();
    int r = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "trm: cannot write to standard output: %s\n", strerror(errno));
        return CLI_BROKEN;
    }
    return r;
}
