# shellcheck shell=bash disable=SC2154
# What the checks that put the same to Apache Kafka and to Ottla have in common; they source it, and have set before:
#   libs      the folder of Kafka's jars
#   ottla     the executable of Ottla
#   settings  settings of either broker, each NAME=VALUE
#   keep      the folder where what is printed stays, or nothing
# A process that stays while a history goes on writes its id to $scratch/KIND/consumers.
scratch=$(realpath "${keep:-$(mktemp -d)}")
mkdir -p "$scratch/kafka" "$scratch/ottla"
declare -A broker port

finish() {
    local status=$?
    # shellcheck disable=SC2046
    kill -KILL "${broker[@]}" $(cat "$scratch"/*/consumers 2>/dev/null) 2>/dev/null || true
    [ "$status" = 0 ] || tail -n 20 "$scratch"/*/broker.log >&2
    [ -n "$keep" ] || rm -rf "$scratch"
}
trap finish EXIT

# One of Kafka's main classes. Most run for a second: compiling them well takes longer than they do.
tool() {
    exec java -Xmx256M -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.level=WARN -cp "$libs/*" "$@"
}

# Waits until a command succeeds.
eventually() {
    local tries
    for tries in $(seq 600); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.2
    done
    echo "not within $((tries / 5)) s: $*" >&2
    return 1
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for port in $(shuf -i 29700-32000); do
        listens "$port" || break
    done
    echo "$port"
}

# Starts Kafka on a folder, which it formats if no broker has written to it.
start_kafka() {
    local data="$1" controller
    port[kafka]=$(free_port)
    controller=$(free_port)
    cat >"$scratch/kafka/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:${port[kafka]},CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
    printf '%s\n' "${settings[@]}" >>"$scratch/kafka/server.properties"
    local storage=(kafka.tools.StorageTool format -t b3R0bGEtY29tcGF0LTAwMQ -c "$scratch/kafka/server.properties")
    [ -e "$data/meta.properties" ] || (tool "${storage[@]}") >"$scratch/kafka/broker.log" 2>&1
    tool kafka.Kafka "$scratch/kafka/server.properties" >>"$scratch/kafka/broker.log" 2>&1 &
    broker[kafka]=$!
    eventually listens "${port[kafka]}"
}

# Starts Ottla on a folder.
start_ottla() {
    port[ottla]=$(free_port)
    "$ottla" serve --listen "127.0.0.1:${port[ottla]}" --data-dir "$1" "${settings[@]/#/--set=}" \
        >>"$scratch/ottla/broker.log" 2>&1 &
    broker[ottla]=$!
    eventually listens "${port[ottla]}"
}

stop() {
    local kind
    for kind in kafka ottla; do
        kill -TERM "${broker[$kind]}"
        wait "${broker[$kind]}" || true
        unset "broker[$kind]"
    done
}

# Leaves out what depends on chance: ids, ports, times, folders, the widths of columns and the order of lines.
normalize() {
    sed -E -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/g' \
        -e 's/(^|[ ="(])[A-Za-z0-9_-]{22}([ ,")]|$)/\1ID\2/g' \
        -e "s/127\.0\.0\.1:[0-9]+/BROKER/g; s#$scratch/(kafka|ottla)#FOLDER#g" \
        -e 's/^[-0-9T:.]+Z //; s/(Valid states are:).*/\1/' \
        -e 's/[ \t]+/ /g; s/ $//; /^ at /d; /^$/d' | LC_ALL=C sort
}

same() {
    diff --unified=0 "$1" "$2" || { echo "$3 is not the same in $1 and $2" >&2; return 1; }
}
