# Compares the outputs of `test` with several runtimes, one file each: a table of counts, a table of the cases that not all
# pass, and the reasons. Exits with 1 if a peer passes what hako fails.

function row(first, cells,    line, i) {
    line = "| " first " |"
    for (i = 1; i <= files; i++) line = line " " cells[i] " |"
    return line
}

FNR == 1 { runtime[++files] = FILENAME }
/^== / { sub(/^== /, ""); machine[++machines] = $0 }
$1 ~ /^(docker|docker-bookworm|docker-rootless|containerd|podman|podman-rootless)$/ && $3 ~ /^(pass|fail|skip)$/ {
    name = $1 " " $2
    if (!(name in seen)) { seen[name] = 1; order[++cases] = name; engine[name] = $1; engines[$1]++ }
    verdict[name, files] = $3
    count[$1, files, $3]++
    line = $0
    sub(/^.* (pass|fail|skip) +[0-9.]+ s */, "", line)
    gsub(/[|]/, "\\|", line)
    reason[name, files] = line
}

END {
    for (i = 1; i <= machines; i++) if (!known[machine[i]]++) print "- " machine[i]
    for (i = 1; i <= files; i++) cells[i] = runtime[i]
    print "\n" row("engine, cases", cells)
    for (i = 1; i <= files; i++) cells[i] = "---"
    print row("---", cells)
    split("docker docker-bookworm docker-rootless containerd podman podman-rootless", list, " ")
    for (e = 1; e <= 6; e++) {
        for (i = 1; i <= files; i++)
            cells[i] = (count[list[e], i, "pass"] + 0) " passed, " (count[list[e], i, "fail"] + 0) " failed, " \
                (count[list[e], i, "skip"] + 0) " skipped"
        print row(list[e] ", " engines[list[e]], cells)
    }

    print "\nThe cases that not all pass:\n"
    for (i = 1; i <= files; i++) cells[i] = runtime[i]
    print row("case", cells)
    for (i = 1; i <= files; i++) cells[i] = "---"
    print row("---", cells)
    for (c = 1; c <= cases; c++) {
        name = order[c]; passed = 0
        for (i = 1; i <= files; i++) {
            cells[i] = verdict[name, i] ? verdict[name, i] : "-"
            passed += cells[i] == "pass"
            if (cells[i] == "skip") cells[i] = "skip: " reason[name, i]
            if (cells[i] == "fail") cells[i] = "**fail**: " substr(reason[name, i], 1, 160)
        }
        if (passed < files) print row(name, cells)
        if (passed > 0 && verdict[name, 1] == "fail") behind = behind "\n- " name
    }
    print behind ? "\nA peer passes what hako fails:\n" behind : "\nhako passes whatever a peer passes."
    exit behind != ""
}
