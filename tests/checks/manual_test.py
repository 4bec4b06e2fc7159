#!/usr/bin/env python3
"""Every command and option of the program is in its manual and completions: manual_test.py RAPT SHARE."""

import pathlib
import re
import subprocess
import sys
import unittest

FLAGS = {"-h", "--help", "--version", "--json", "--list", "--groups", "--copying"}
OPTION = re.compile(r"^  (?:(-\w),)?(--[\w-]+)", re.M)


class Manual(unittest.TestCase):
    rapt = share = ""

    def help(self, *command):
        return subprocess.run([self.rapt, *command, "--help"], capture_output=True, text=True, check=True).stdout

    def commands(self):
        """Each command, "" for the program itself, with its options."""
        listed = self.help().split("\nCommands:\n")[1].split("\n\n")[0]
        names = [line.split()[0] for line in listed.splitlines()]
        self.assertGreaterEqual(len(names), 4)
        found = {name: self.help(*filter(None, [name])) for name in ["", *names]}
        return {
            name: [option for pair in OPTION.findall(text) for option in pair if option]
            for name, text in found.items()
        }

    def read(self, path):
        return (pathlib.Path(self.share) / path).read_text()

    def test_page(self):
        page = self.read("man/man1/rapt.1").replace("\\-", "-")
        sections = dict(re.findall(r"^\.SS rapt (\w+)\n(.*?)(?=^\.S[SH] )", page, re.M | re.S))
        sections[""] = page.split(".SH OPTIONS\n")[1].split(".SH COMMANDS\n")[0]
        for command, options in self.commands().items():
            for option in options:
                self.assertRegex(sections[command], rf"(?m)^\\fB(.*, )?{option}(, .*)?\\fR", f"{command} {option}")
        for command in filter(None, self.commands()):
            examples = self.help(command).split("Examples:\n")[1]
            self.assertIn(examples.strip(), sections[command])
        self.assertEqual(sections.keys(), self.commands().keys())

    def test_bash(self):
        script = f"source {self.share}/bash-completion/completions/rapt; COMP_WORDS=(rapt %s); " \
                 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _rapt; echo "${COMPREPLY[@]}"'

        def complete(words):
            run = subprocess.run(["bash", "-c", script % words], capture_output=True, text=True, check=True)
            return run.stdout.split()

        commands = self.commands()
        self.assertEqual(sorted(complete("''")), sorted([*filter(None, commands), *commands[""]]))
        self.assertEqual(complete("ev"), ["eval"])
        for command in filter(None, commands):
            self.assertEqual(sorted(complete(f"{command} -")), sorted(commands[command]))
            self.assertEqual(complete(f"{command} ''"), [])  # files, by bash itself
        self.assertEqual(complete("generate x --top"), ["--top-k", "--top-p"])

    def test_zsh(self):
        text = self.read("zsh/site-functions/_rapt")
        sections = dict(re.findall(r"^    (\w+)\)\n(.*?);;", text, re.M | re.S))
        for command, options in self.commands().items():
            for option in options:
                section = sections.get(command, text.split("  local command=")[0])
                (value,) = re.findall(rf"'{option}\[[^]']+\](:\w+:)?'", section)
                self.assertEqual(value == "", option in FLAGS, f"{command} {option}")
        self.assertIn("[Worker threads, 0: one for each core]", sections["eval"])
        self.assertEqual(sections.keys(), set(filter(None, self.commands())))

    def test_fish(self):
        lines = self.read("fish/vendor_completions.d/rapt.fish").splitlines()
        for command, options in self.commands().items():
            condition = f"__fish_seen_subcommand_from {command}" if command else "__fish_use_subcommand"
            here = [line for line in lines if f"-n '{condition}'" in line]
            for option in options:
                word = f" -l {option[2:]} " if option.startswith("--") else f" -s {option[1:]} "
                (line,) = [line for line in here if word in line]
                self.assertEqual(" -x " not in line, option in FLAGS, f"{command} {option}")
                self.assertRegex(line, " -d '[^']+'$")


if __name__ == "__main__":
    Manual.share = sys.argv.pop()
    Manual.rapt = sys.argv.pop()
    unittest.main()
