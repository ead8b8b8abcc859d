--
-- PostgreSQL database dump
--


-- Dumped from database version 16.14
-- Dumped by pg_dump version 16.14

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: stepflow; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA stepflow;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: begun; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.begun (
    shard text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    runs bigint DEFAULT 1 NOT NULL
);


--
-- Name: conflicts; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.conflicts (
    shard text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    run_id text NOT NULL COLLATE pg_catalog."C",
    posted text NOT NULL,
    reason text NOT NULL,
    at bigint NOT NULL,
    body text NOT NULL
);


--
-- Name: counters; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.counters (
    shard text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    last bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');


--
-- Name: data; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.data (
    shard text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    run_id text NOT NULL COLLATE pg_catalog."C",
    token bigint NOT NULL,
    annotations text NOT NULL,
    format smallint DEFAULT 1 NOT NULL,
    blob bytea NOT NULL
);
ALTER TABLE ONLY stepflow.data ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: dedup_keys; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.dedup_keys (
    shard text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    run_id text NOT NULL COLLATE pg_catalog."C",
    until bigint NOT NULL
);


--
-- Name: delays; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.delays (
    shard text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    run_id text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    token bigint NOT NULL,
    transition text NOT NULL,
    labels text NOT NULL,
    annotations text NOT NULL,
    committed_at bigint NOT NULL,
    due bigint NOT NULL,
    binding boolean NOT NULL,
    fired boolean DEFAULT false NOT NULL,
    format smallint DEFAULT 1 NOT NULL
);
ALTER TABLE ONLY stepflow.delays ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: epochs; Type: SEQUENCE; Schema: stepflow; Owner: -
--

CREATE SEQUENCE stepflow.epochs
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: events; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.events (
    shard text NOT NULL COLLATE pg_catalog."C",
    run_id text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    payload text NOT NULL,
    published_at bigint NOT NULL,
    taken boolean DEFAULT false NOT NULL,
    format smallint DEFAULT 1 NOT NULL
);
ALTER TABLE ONLY stepflow.events ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: history; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.history (
    shard text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    prev bigint NOT NULL,
    token bigint NOT NULL,
    transition text NOT NULL,
    labels text NOT NULL,
    annotations text NOT NULL,
    committed_at bigint NOT NULL,
    exchange_rev bigint NOT NULL,
    exchange text,
    format smallint DEFAULT 1 NOT NULL
);
ALTER TABLE ONLY stepflow.history ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: inbox; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.inbox (
    shard text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    body text NOT NULL,
    format smallint DEFAULT 1 NOT NULL
);
ALTER TABLE ONLY stepflow.inbox ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: journal; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.journal (
    shard text NOT NULL COLLATE pg_catalog."C",
    run_id text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    text text NOT NULL,
    failed boolean NOT NULL,
    epoch bigint NOT NULL,
    token bigint NOT NULL,
    format smallint DEFAULT 1 NOT NULL
);
ALTER TABLE ONLY stepflow.journal ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: labels; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.labels (
    shard text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL
);
ALTER TABLE ONLY stepflow.labels ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: meta; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.meta (
    name text NOT NULL,
    value bigint NOT NULL
);


--
-- Name: owners; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.owners (
    shard text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    host text NOT NULL,
    pid bigint NOT NULL,
    beat bigint NOT NULL,
    locks boolean NOT NULL,
    flows text DEFAULT '[]'::text NOT NULL,
    process text DEFAULT ''::text NOT NULL,
    boot text DEFAULT ''::text NOT NULL,
    reclaimed_at bigint DEFAULT 0 NOT NULL,
    counted text DEFAULT '[]'::text NOT NULL
)
WITH (fillfactor='50');


--
-- Name: paused_flows; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.paused_flows (
    shard text NOT NULL COLLATE pg_catalog."C",
    flow text NOT NULL COLLATE pg_catalog."C",
    since bigint NOT NULL
);


--
-- Name: posts; Type: SEQUENCE; Schema: stepflow; Owner: -
--

CREATE SEQUENCE stepflow.posts
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: queue; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.queue (
    shard text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    flow text NOT NULL COLLATE pg_catalog."C",
    due bigint NOT NULL,
    partition smallint NOT NULL,
    owner text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    claim_rev bigint DEFAULT 0 NOT NULL,
    priority bigint DEFAULT 0 NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    blocked text DEFAULT ''::text NOT NULL,
    blocked_by text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    limits text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    epoch bigint,
    unfinished integer DEFAULT 0 NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    holding bigint
)
WITH (fillfactor='60', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
ALTER TABLE ONLY stepflow.queue ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: revs; Type: SEQUENCE; Schema: stepflow; Owner: -
--

CREATE SEQUENCE stepflow.revs
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: schedules; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.schedules (
    shard text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    due bigint,
    body text NOT NULL,
    format smallint DEFAULT 1 NOT NULL
);


--
-- Name: seqs; Type: SEQUENCE; Schema: stepflow; Owner: -
--

CREATE SEQUENCE stepflow.seqs
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: sessions; Type: SEQUENCE; Schema: stepflow; Owner: -
--

CREATE SEQUENCE stepflow.sessions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: states; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.states (
    shard text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    epoch bigint,
    flow text NOT NULL COLLATE pg_catalog."C",
    input_hash text NOT NULL,
    created_at bigint NOT NULL,
    transition text NOT NULL,
    labels text NOT NULL,
    annotations text NOT NULL,
    status text NOT NULL,
    waiting text NOT NULL,
    committed_at bigint NOT NULL,
    exchange_rev bigint NOT NULL,
    priority bigint DEFAULT 0 NOT NULL,
    format smallint DEFAULT 1 NOT NULL,
    delay bigint,
    limits text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='60');
ALTER TABLE ONLY stepflow.states ALTER COLUMN shard SET (n_distinct=1);


--
-- Name: tallied; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.tallied (
    shard text NOT NULL COLLATE pg_catalog."C",
    rev bigint NOT NULL,
    prunings bigint NOT NULL,
    counts text NOT NULL
);


--
-- Data for Name: begun; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: conflicts; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: counters; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: data; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: dedup_keys; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: delays; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: events; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.events VALUES
	('/0', 'completed', '1', 9, 'approved', '', 1736157600000000, true, 1);


--
-- Data for Name: history; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.history VALUES
	('/0', 1, 'completed', 0, 4294967297, '{"annotations":{"stepflow.style":"workflow"},"to":"shop.v1"}', '{}', '{}', 1736154000000000, 1, '0', 1),
	('/1', 2, 'waiting', 0, 4294967298, '{"annotations":{"stepflow.style":"workflow"},"to":"shop.v1"}', '{}', '{}', 1736154000000000, 2, '1', 1),
	('/0', 3, 'completed', 1, 4294967302, 'sleep:cool-off\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', 1736154000000000, 1, NULL, 1),
	('/1', 4, 'waiting', 2, 4294967306, 'sleep:cool-off\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', 1736154000000000, 2, NULL, 1),
	('/0', 5, 'completed', 3, 8589934596, '{"annotations":{"stepflow.status":"completed","stepflow.style":"workflow"},"to":""}', '{}', '{}', 1736157600000000, 5, '[14773826412031745890,"reserved 0: “Straße”",0,"Ada","shipped 0"]', 1),
	('/1', 6, 'waiting', 4, 8589934597, '{"annotations":{"stepflow.payloads":"{\"approved\":{\"type\":\"string\"}}","stepflow.state":"[\"event:approval\"]","stepflow.style":"workflow","stepflow.waiting":"event:approved"},"to":"shop.v1"}', '{}', '{}', 1736157600000000, 2, NULL, 1),
	('/1', 7, 'sleeping', 0, 8589934598, '{"annotations":{"stepflow.style":"workflow"},"to":"shop.v1"}', '{}', '{}', 1736157600000000, 7, '2', 1),
	('/1', 8, 'sleeping', 7, 8589934602, 'sleep:cool-off\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', 1736157600000000, 7, NULL, 1),
	('/0', 9, 'retrying', 0, 8589934603, '{"annotations":{"stepflow.style":"workflow"},"to":"shop.v1"}', '{}', '{}', 1736157600000000, 9, '3', 1),
	('/0', 10, 'retrying', 9, 8589934606, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no bank\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/tmp/w/jtime/tests/compatibility/workflows.py\\\", line 21, in pay\\n    raise ConnectionError(\\\"no bank\\\")\\nConnectionError: no bank\\n\"}","stepflow.next_attempt":"2","stepflow.state":"[\"step:pay\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', 1736157600000000, 9, NULL, 1);


--
-- Data for Name: inbox; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: journal; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.journal VALUES
	('/0', 'completed', 'draw', 1, 'random_uint64', '', '14773826412031745890', false, 3, 4294967299, 1),
	('/0', 'completed', 'reserve', 2, 'step', 'reserve', '"reserved 0: “Straße”"', false, 3, 4294967300, 1),
	('/0', 'completed', 'pay', 3, 'step', 'pay', '0', false, 3, 4294967301, 1),
	('/0', 'completed', 'cool-off', 4, 'sleep', '', '1736157600000000', false, 3, 4294967302, 1),
	('/1', 'waiting', 'draw', 5, 'random_uint64', '', '12415309003763410915', false, 5, 4294967303, 1),
	('/1', 'waiting', 'reserve', 6, 'step', 'reserve', '"reserved 1: “Straße”"', false, 5, 4294967304, 1),
	('/1', 'waiting', 'pay', 7, 'step', 'pay', '100', false, 5, 4294967305, 1),
	('/1', 'waiting', 'cool-off', 8, 'sleep', '', '1736157600000000', false, 5, 4294967306, 1),
	('/0', 'completed', 'approval', 10, 'event', 'approved', '"Ada"', false, 7, 8589934594, 1),
	('/0', 'completed', 'ship', 11, 'step', 'ship', '"shipped 0"', false, 7, 8589934595, 1),
	('/1', 'waiting', 'approval', 12, 'wait', 'approved', 'null', false, 8, 8589934597, 1),
	('/1', 'sleeping', 'draw', 13, 'random_uint64', '', '14773826412031745890', false, 10, 8589934599, 1),
	('/1', 'sleeping', 'reserve', 14, 'step', 'reserve', '"reserved 2: “Straße”"', false, 10, 8589934600, 1),
	('/1', 'sleeping', 'pay', 15, 'step', 'pay', '200', false, 10, 8589934601, 1),
	('/1', 'sleeping', 'cool-off', 16, 'sleep', '', '1736161200000000', false, 10, 8589934602, 1),
	('/0', 'retrying', 'draw', 17, 'random_uint64', '', '12415309003763410915', false, 13, 8589934604, 1),
	('/0', 'retrying', 'reserve', 18, 'step', 'reserve', '"reserved 3: “Straße”"', false, 13, 8589934605, 1),
	('/0', 'retrying', 'pay', 19, 'attempt', 'pay', '{"attempt": 1, "due": 1736158200000000, "error": "{\"type\": \"ConnectionError\", \"message\": \"no bank\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/tmp/w/jtime/tests/compatibility/workflows.py\\\", line 21, in pay\\n    raise ConnectionError(\\\"no bank\\\")\\nConnectionError: no bank\\n\", \"module\": \"builtins\", \"args\": [\"no bank\"], \"state\": {}}", "unfinished": 0}', false, 13, 8589934606, 1);


--
-- Data for Name: labels; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: meta; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.meta VALUES
	('schema', 21),
	('shards', 3),
	('store', 2691648024616551);


--
-- Data for Name: owners; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: paused_flows; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: queue; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.queue VALUES
	('/1', 'sleeping', 'shop.v1', 1736161200000000, 0, '', 0, 0, 0, false, '', '', '', NULL, 0, false, NULL),
	('/0', 'retrying', 'shop.v1', 1736158200000000, 0, '', 0, 0, 0, false, '', '', '', NULL, 0, false, NULL);


--
-- Data for Name: schedules; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Data for Name: states; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.states VALUES
	('/0', 'retrying', 10, 14, 'shop.v1', '4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce', 1736157600000000, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no bank\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/tmp/w/jtime/tests/compatibility/workflows.py\\\", line 21, in pay\\n    raise ConnectionError(\\\"no bank\\\")\\nConnectionError: no bank\\n\"}","stepflow.next_attempt":"2","stepflow.state":"[\"step:pay\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', '', 'delay', 1736157600000000, 9, 0, 1, NULL, ''),
	('/0', 'completed', 5, NULL, 'shop.v1', '5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9', 1736154000000000, '{"annotations":{"stepflow.status":"completed","stepflow.style":"workflow"},"to":""}', '{}', '{}', 'completed', '', 1736157600000000, 5, 0, 1, NULL, ''),
	('/1', 'waiting', 6, NULL, 'shop.v1', '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b', 1736154000000000, '{"annotations":{"stepflow.payloads":"{\"approved\":{\"type\":\"string\"}}","stepflow.state":"[\"event:approval\"]","stepflow.style":"workflow","stepflow.waiting":"event:approved"},"to":"shop.v1"}', '{}', '{}', '', 'event:approved', 1736157600000000, 2, 0, 1, NULL, ''),
	('/1', 'sleeping', 8, 11, 'shop.v1', 'd4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35', 1736157600000000, 'sleep:cool-off\"]","stepflow.style":"workflow","stepflow.waiting":"delay"},"to":"shop.v1"}', '{}', '{}', '', 'delay', 1736157600000000, 7, 0, 1, NULL, '');


--
-- Data for Name: tallied; Type: TABLE DATA; Schema: stepflow; Owner: -
--



--
-- Name: epochs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.epochs', 14, true);


--
-- Name: posts; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.posts', 1, false);


--
-- Name: revs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.revs', 10, true);


--
-- Name: seqs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.seqs', 19, true);


--
-- Name: sessions; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.sessions', 2, true);


--
-- Name: conflicts conflicts_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.conflicts
    ADD CONSTRAINT conflicts_pkey PRIMARY KEY (shard, seq);


--
-- Name: counters counters_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (shard, name);


--
-- Name: data data_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.data
    ADD CONSTRAINT data_pkey PRIMARY KEY (shard, rev);


--
-- Name: delays delays_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.delays
    ADD CONSTRAINT delays_pkey PRIMARY KEY (shard, number);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (shard, run_id, name, id);


--
-- Name: history history_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (shard, rev);


--
-- Name: inbox inbox_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (shard, seq);


--
-- Name: journal journal_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (shard, run_id, key);


--
-- Name: labels labels_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (shard, label, created_at, id);


--
-- Name: meta meta_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);


--
-- Name: dedup_keys once_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.dedup_keys
    ADD CONSTRAINT once_pkey PRIMARY KEY (shard, key);


--
-- Name: owners owners_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.owners
    ADD CONSTRAINT owners_pkey PRIMARY KEY (shard, id);


--
-- Name: paused_flows paused_flows_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.paused_flows
    ADD CONSTRAINT paused_flows_pkey PRIMARY KEY (shard, flow);


--
-- Name: queue queue_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (shard, id);


--
-- Name: schedules schedules_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (shard, id);


--
-- Name: states states_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.states
    ADD CONSTRAINT states_pkey PRIMARY KEY (shard, id);


--
-- Name: tallied tallied_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.tallied
    ADD CONSTRAINT tallied_pkey PRIMARY KEY (shard);


--
-- Name: begun_at; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX begun_at ON stepflow.begun USING btree (shard, key, at);


--
-- Name: data_run; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX data_run ON stepflow.data USING btree (shard, run_id);


--
-- Name: delays_due; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX delays_due ON stepflow.delays USING btree (shard, due, number);


--
-- Name: delays_pending; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX delays_pending ON stepflow.delays USING btree (shard, due, number) WHERE (NOT fired);


--
-- Name: delays_run; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX delays_run ON stepflow.delays USING btree (shard, run_id, due, number);


--
-- Name: events_pending; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX events_pending ON stepflow.events USING btree (shard, run_id, seq) WHERE (NOT taken);


--
-- Name: queue_holding; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_holding ON stepflow.queue USING btree (shard, holding) WHERE ((partition = 3) AND (limits <> ''::text));


--
-- Name: queue_later; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_later ON stepflow.queue USING btree (shard, flow, due) WHERE (partition = 0);


--
-- Name: queue_limited; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_limited ON stepflow.queue USING btree (shard, flow, limits, priority, due, id) WHERE (partition = 4);


--
-- Name: queue_marked; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_marked ON stepflow.queue USING btree (shard, claim_rev) WHERE ((partition = 3) AND cancel);


--
-- Name: queue_owned; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_owned ON stepflow.queue USING btree (shard, owner) WHERE (partition = 3);


--
-- Name: queue_paused; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_paused ON stepflow.queue USING btree (shard, id) WHERE (partition = 5);


--
-- Name: queue_ready; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_ready ON stepflow.queue USING btree (shard, flow, priority, due, id) WHERE (partition = 1);


--
-- Name: queue_special; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_special ON stepflow.queue USING btree (shard, flow, priority, due, id) WHERE (partition = 2);


--
-- Name: queue_turns; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_turns ON stepflow.queue USING btree (shard, flow, priority, due, id) WHERE (partition = 4);


--
-- Name: schedules_due; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX schedules_due ON stepflow.schedules USING btree (shard, due, id) WHERE (due IS NOT NULL);


--
-- Name: states_listed; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_listed ON stepflow.states USING btree (shard, flow, status, created_at, id) WHERE (delay IS NULL);


--
-- Name: states_polling; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_polling ON stepflow.states USING btree (shard, flow, created_at, id) WHERE ((waiting <> ALL (ARRAY[''::text, 'delay'::text])) AND (waiting !~~ 'event:_%'::text));


--
-- Name: states_waiting; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_waiting ON stepflow.states USING btree (shard, flow, created_at, id) WHERE (waiting ~~ 'event:_%'::text);


--
-- PostgreSQL database dump complete
--


