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
    at bigint NOT NULL
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
-- Name: labels; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.labels (
    shard text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C"
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
-- Name: once; Type: TABLE; Schema: stepflow; Owner: -
--

CREATE TABLE stepflow.once (
    shard text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    run_id text NOT NULL COLLATE pg_catalog."C",
    until bigint NOT NULL
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
    flows text DEFAULT '[]'::text NOT NULL
)
WITH (fillfactor='50');


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
    lane smallint NOT NULL,
    owner text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    claim_rev bigint DEFAULT 0 NOT NULL,
    priority bigint DEFAULT 0 NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    blocked text DEFAULT ''::text NOT NULL,
    blocked_by text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    limits text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C"
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
-- Data for Name: begun; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.begun VALUES
	('/0', 'api', 1736154022000000),
	('/0', 'api', 1736154022000000);


--
-- Data for Name: counters; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.counters VALUES
	('/0', 'data', 4),
	('/0', 'delays', 10),
	('tenant-b/0', 'data', 1),
	('tenant-b/0', 'delays', 1);


--
-- Data for Name: data; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.data VALUES
	('/0', 1, 'letter', 8589934653, '{"checksum/xxhash64":"18257026917539894498"}', 1, '\x44656172204164612c'),
	('/0', 2, 'letter', 8589934653, '{"binary":"true","checksum/xxhash64":"2282408585429094475"}', 1, '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
	('/0', 3, 'letter', 8589934654, '{"checksum/xxhash64":"8925190272215538786"}', 1, '\x4465617220c38464c3a42c'),
	('/1', 4, 'caller of question-data', 8589934664, '{"binary":"true","checksum/xxhash64":"16202119234872089981"}', 1, '\x00ff'),
	('tenant-b/0', 1, 'letter', 17179869190, '{"checksum/xxhash64":"17824479823349213883"}', 1, '\x4465617220426f622c');


--
-- Data for Name: delays; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.delays VALUES
	('/1', 1, 'offer', 47, 8589934638, '{"annotations":{"flowstate.delay.until":"2025-01-20T09:00:22+00:00","why":"too late"},"to":"offer.v1"}', '{"kind":"offer"}', '{}', 1736154022000000, 1737363622000000, true, false, 1),
	('/2', 3, 'delayed', 61, 8589934656, '{"annotations":{"flowstate.delay.until":"2025-01-13T09:00:22+00:00","why":"a week"},"to":"moved.v1"}', '{"kind":"delayed"}', '{}', 1736154022000000, 1736758822000000, true, false, 1),
	('/1', 4, 'void', 62, 8589934657, '{"annotations":{"flowstate.delay.until":"2025-01-13T09:00:22+00:00"},"to":"moved.v1"}', '{"kind":"void"}', '{}', 1736154022000000, 1736758822000000, true, false, 1),
	('/2', 5, 'snapshot', 64, 8589934659, '{"annotations":{"flowstate.delay.commit":"false","flowstate.delay.until":"2025-01-08T09:00:22+00:00","text":"then"},"to":"remind.v1"}', '{"kind":"snapshot"}', '{}', 1736154022000000, 1736326822000000, false, false, 1),
	('/2', 7, 'hand-snapshot', 67, 8589934662, '{"annotations":{"flowstate.delay.commit":"false","flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"hand.v1"}', '{"kind":"hand-snapshot"}', '{}', 1736154022000000, 1736154052000000, false, false, 1),
	('/1', 10, 'mail-alone', 75, 8589934671, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.enabled":"false"}', 1736154022000000, 1736154023000000, true, true, 1),
	('/0', 9, 'mail-failed', 74, 8589934669, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"1"}', 1736154022000000, 1736154023000000, true, true, 1),
	('/2', 8, 'mail-later', 73, 8589934667, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"9","flowstate.recovery.retry_after":"1h30m"}', 1736154022000000, 1736154023000000, true, true, 1),
	('/2', 2, 'fired', 60, 8589934655, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"moved.v1"}', '{"kind":"fired"}', '{}', 1736154022000000, 1736154052000000, true, true, 1),
	('tenant-b/0', 1, 'letter', 101, 17179869191, '{"annotations":{"flowstate.delay.until":"2025-01-06T10:01:22+00:00"},"to":"moved.v1"}', '{"customer":"bob"}', '{"flowstate.data.body":"1"}', 1736154082000000, 1736157682000000, true, false, 1),
	('/0', 6, 'hand-delayed', 66, 8589934661, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"hand.v1"}', '{"kind":"hand-delayed"}', '{}', 1736154022000000, 1736154052000000, true, true, 1);


--
-- Data for Name: events; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.events VALUES
	('/0', 'priced', 'price-10', 2, 'price.set', '10', 1736154022000000, false, 1),
	('/0', 'priced', 'price-20', 3, 'price.set', '20', 1736154022000000, false, 1),
	('/0', 'priced', 'price-30', 4, 'price.set', '30', 1736154022000000, false, 1),
	('/1', 'half-signed', 'first', 1, 'signed', '', 1736154022000000, true, 1),
	('/0', 'blocked', 'go-1', 5, 'go', '"go"', 1736154082000000, false, 1),
	('/0', 'unsigned', 'unheard-1', 6, 'unheard', '{"a":["list",1.5,null]}', 1736154082000000, false, 1);


--
-- Data for Name: history; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.history VALUES
	('crashes/1', 1, 'suspect', 0, 4294967297, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', 1736154000000000, 1, '{"number":60,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 2, 'completed', 0, 8589934593, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{"tenant":"acme"}', '{}', 1736154022000000, 2, '{"number":1,"log":[],"looks":0,"note":"","address":{"street":"Straße 1","zip":8001},"placed":"2025-01-06T08:30:00+00:00"}', 1),
	('/2', 3, 'a/b c?d%e#ü', 0, 8589934594, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{"city":"Köln"}', '{}', 1736154022000000, 3, '{"number":2,"log":[],"looks":0,"note":"naïve 漢字 \u0000 \u0001  \"quoted\" \\ 🙂","address":null,"placed":null}', 1),
	('/0', 4, 'failed', 0, 8589934595, '{"annotations":{"stepflow.state":"[\"start:strict.v1\"]"},"to":"strict.v1"}', '{"tenant":"acme"}', '{}', 1736154022000000, 4, '{"number":3,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 5, 'cancelled', 0, 8589934596, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', 1736154022000000, 5, '{"number":4,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 6, 'calling', 0, 8589934597, '{"annotations":{"stepflow.state":"[\"start:call.v1\"]"},"to":"call.v1"}', '{}', '{}', 1736154022000000, 6, '{"number":5,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 7, 'retrying', 0, 8589934598, '{"annotations":{"stepflow.state":"[\"start:upload.v1\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 7, '{"number":6,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 8, 'exhausted', 0, 8589934599, '{"annotations":{"stepflow.state":"[\"start:upload.v1\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 8, '{"number":13,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 9, 'server', 0, 8589934600, '{"annotations":{"stepflow.state":"[\"start:server.v1\"]"},"to":"server.v1"}', '{}', '{}', 1736154022000000, 9, '{"number":7,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 10, 'polling', 0, 8589934601, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:build.v1\"]","stepflow.waiting":"poll"},"to":"build.v1"}', '{}', '{}', 1736154022000000, 10, '{"number":8,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 11, 'never', 0, 8589934602, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:never.v1\"]","stepflow.waiting":"poll"},"to":"never.v1"}', '{}', '{}', 1736154022000000, 11, '{"number":9,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 12, 'approval', 0, 8589934603, '{"annotations":{"stepflow.state":"[\"start:approval.v1\"]"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 12, '{"number":10,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 13, 'unapproved', 0, 8589934604, '{"annotations":{"stepflow.state":"[\"start:approval.v1\"]"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 13, '{"number":11,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 14, 'expired', 0, 8589934605, '{"annotations":{"stepflow.state":"[\"start:approval.v1\"]"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 14, '{"number":18,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 15, 'unsigned', 0, 8589934606, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', 1736154022000000, 15, '{"number":12,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 16, 'half-signed', 0, 8589934607, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', 1736154022000000, 16, '{"number":14,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 17, 'priced', 0, 8589934608, '{"annotations":{"stepflow.state":"[\"start:price.v1\"]","stepflow.waiting":"poll"},"to":"price.v1"}', '{}', '{}', 1736154022000000, 17, '{"number":15,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 18, 'looping', 0, 8589934609, '{"annotations":{"stepflow.state":"[\"start:loop.v1\"]"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 18, '{"number":16,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 19, 'blocked', 0, 8589934610, '{"annotations":{"stepflow.state":"[\"start:shape.v1\"]"},"to":"shape.v1"}', '{}', '{}', 1736154022000000, 19, '{"number":17,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 20, 'api-0', 0, 8589934611, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154022000000, 20, '{"number":20,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 21, 'api-1', 0, 8589934612, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154022000000, 21, '{"number":21,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 22, 'api-2', 0, 8589934613, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154022000000, 22, '{"number":22,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 23, 'offer', 0, 8589934614, '{"annotations":{},"to":"offer.v1"}', '{"kind":"offer"}', '{}', 1736154022000000, 23, 'null', 1),
	('/1', 24, 'mail', 0, 8589934615, '{"annotations":{},"to":"mail.v1"}', '{}', '{}', 1736154022000000, 24, 'null', 1),
	('/2', 25, 'a/b c?d%e#ü', 3, 8589934616, '{"annotations":{"stepflow.state":"[\"completed:order.v1/charge\"]"},"to":"order.v1"}', '{"city":"Köln"}', '{}', 1736154022000000, 25, '{"number":2,"log":["charge"],"looks":0,"note":"naïve 漢字 \u0000 \u0001  \"quoted\" \\ 🙂","address":null,"placed":null}', 1),
	('/2', 26, 'a/b c?d%e#ü', 25, 8589934617, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"city":"Köln"}', '{}', 1736154022000000, 26, '{"number":2,"log":["charge","ship"],"looks":0,"note":"naïve 漢字 \u0000 \u0001  \"quoted\" \\ 🙂","address":null,"placed":null}', 1),
	('/2', 27, 'api-0', 20, 8589934618, '{"annotations":{"stepflow.state":"[\"completed:order.v1/charge\"]"},"to":"order.v1"}', '{}', '{}', 1736154022000000, 27, '{"number":20,"log":["charge"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 28, 'api-0', 27, 8589934619, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{}', '{}', 1736154022000000, 28, '{"number":20,"log":["charge","ship"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 29, 'api-1', 21, 8589934620, '{"annotations":{"stepflow.state":"[\"completed:order.v1/charge\"]"},"to":"order.v1"}', '{}', '{}', 1736154022000000, 29, '{"number":21,"log":["charge"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 30, 'api-1', 29, 8589934621, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{}', '{}', 1736154022000000, 30, '{"number":21,"log":["charge","ship"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 31, 'approval', 12, 8589934622, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 31, '{"number":10,"log":["ask"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 32, 'blocked', 19, 8589934623, '{"annotations":{"stepflow.state":"[\"completed:shape.v1/cut\"]","stepflow.waiting":"event:go"},"to":"shape.v1"}', '{}', '{}', 1736154022000000, 32, '{"number":17,"log":["cut"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 33, 'completed', 2, 8589934624, '{"annotations":{"stepflow.state":"[\"completed:order.v1/charge\"]"},"to":"order.v1"}', '{"tenant":"acme"}', '{}', 1736154022000000, 33, '{"number":1,"log":["charge"],"looks":0,"note":"","address":{"street":"Straße 1","zip":8001},"placed":"2025-01-06T08:30:00+00:00"}', 1),
	('/0', 34, 'completed', 33, 8589934625, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"tenant":"acme"}', '{}', 1736154022000000, 34, '{"number":1,"log":["charge","ship"],"looks":0,"note":"","address":{"street":"Straße 1","zip":8001},"placed":"2025-01-06T08:30:00+00:00"}', 1),
	('/2', 35, 'exhausted', 8, 8589934626, '{"annotations":{"stepflow.state":"[\"completed:upload.v1/open\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 35, '{"number":13,"log":["open"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 36, 'exhausted', 35, 8589934627, '{"annotations":{"stepflow.state":"[\"completed:upload.v1/netRetry/login\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 36, '{"number":13,"log":["open","login"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 37, 'exhausted', 36, 8589934628, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no upload for order 13: \\u201cStra\\u00dfe\\u201d\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nConnectionError: no upload for order 13: \\u201cStra\\u00dfe\\u201d\\n\"}","stepflow.state":"[\"start:upload.v1/netRetry\",\"attempt:2:upload.v1/netRetry\"]","stepflow.waiting":"delay"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 36, NULL, 1),
	('/0', 38, 'expired', 14, 8589934629, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 38, '{"number":18,"log":["ask"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 39, 'failed', 4, 8589934630, '{"annotations":{"stepflow.state":"[\"completed:strict.v1/first\"]"},"to":"strict.v1"}', '{"tenant":"acme"}', '{}', 1736154022000000, 39, '{"number":3,"log":["first"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 40, 'failed', 39, 8589934631, '{"annotations":{"stepflow.error":"{\"type\": \"ValueError\", \"message\": \"no address for order 3: \\u201cStra\\u00dfe\\u201d [in step strict.v1/check]\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nValueError: no address for order 3: \\u201cStra\\u00dfe\\u201d\\nin step strict.v1/check\\n\"}","stepflow.state":"[\"completed:strict.v1/first\"]","stepflow.status":"failed"},"to":""}', '{"tenant":"acme"}', '{}', 1736154022000000, 39, NULL, 1),
	('/1', 41, 'looping', 18, 8589934632, '{"annotations":{"stepflow.state":"[\"completed:loop.v1/roundsLoopUntil/steps/count\"]"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 41, '{"number":16,"log":[],"looks":1,"note":"","address":null,"placed":null}', 1),
	('/1', 42, 'looping', 41, 8589934633, '{"annotations":{"stepflow.state":"[\"completed:loop.v1/roundsLoopUntil/steps/secondCase\"]"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 41, NULL, 1),
	('/1', 43, 'looping', 42, 8589934634, '{"annotations":{"stepflow.state":"[\"start:loop.v1/roundsLoopUntil/steps\"]"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 41, NULL, 1),
	('/1', 44, 'looping', 43, 8589934635, '{"annotations":{"stepflow.state":"[\"completed:loop.v1/roundsLoopUntil/steps/count\"]"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 44, '{"number":16,"log":[],"looks":2,"note":"","address":null,"placed":null}', 1),
	('/1', 45, 'looping', 44, 8589934636, '{"annotations":{"stepflow.state":"[\"start:loop.v1/roundsLoopUntil/steps/secondCase/steps\"]","stepflow.waiting":"event:next"},"to":"loop.v1"}', '{}', '{}', 1736154022000000, 44, NULL, 1),
	('/1', 46, 'mail', 24, 8589934637, '{"annotations":{"flowstate.recovery.attempt":"1","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail\\n\"}","stepflow.waiting":"delay"},"to":"mail.v1"}', '{}', '{}', 1736154022000000, 24, NULL, 1),
	('/1', 47, 'offer', 23, 8589934638, '{"annotations":{"state":"sent"},"to":""}', '{"kind":"offer"}', '{}', 1736154022000000, 23, NULL, 1),
	('/1', 48, 'polling', 10, 8589934639, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:build.v1/readyWaitFor\"]","stepflow.waiting":"poll"},"to":"build.v1"}', '{}', '{}', 1736154022000000, 48, '{"number":8,"log":[],"looks":1,"note":"","address":null,"placed":null}', 1),
	('/0', 49, 'priced', 17, 8589934640, '{"annotations":{"stepflow.state":"[\"start:price.v1/openingWaitFor\"]","stepflow.waiting":"poll"},"to":"price.v1"}', '{}', '{}', 1736154022000000, 49, '{"number":15,"log":[],"looks":1,"note":"","address":null,"placed":null}', 1),
	('/0', 50, 'retrying', 7, 8589934641, '{"annotations":{"stepflow.state":"[\"completed:upload.v1/open\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 50, '{"number":6,"log":["open"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 51, 'retrying', 50, 8589934642, '{"annotations":{"stepflow.state":"[\"completed:upload.v1/netRetry/login\"]"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 51, '{"number":6,"log":["open","login"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 52, 'retrying', 51, 8589934643, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no upload for order 6: \\u201cStra\\u00dfe\\u201d\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nConnectionError: no upload for order 6: \\u201cStra\\u00dfe\\u201d\\n\"}","stepflow.state":"[\"start:upload.v1/netRetry\",\"attempt:2:upload.v1/netRetry\"]","stepflow.waiting":"delay"},"to":"upload.v1"}', '{}', '{}', 1736154022000000, 51, NULL, 1),
	('/2', 53, 'server', 9, 8589934644, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"server 0 is down\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 91, in connect\\n    raise ConnectionError(\\\"server 0 is down\\\")\\nConnectionError: server 0 is down\\n\"}","stepflow.state":"[\"start:server.v1/serversRetry\"]"},"to":"server.v1"}', '{}', '{}', 1736154022000000, 53, '{"number":7,"log":["server 0 is down"],"looks":1,"note":"","address":null,"placed":null}', 1),
	('/2', 54, 'server', 53, 8589934645, '{"annotations":{"stepflow.state":"[\"completed:server.v1/serversRetry/connect\"]","stepflow.waiting":"event:server.ready"},"to":"server.v1"}', '{}', '{}', 1736154022000000, 53, NULL, 1),
	('/0', 55, 'unapproved', 13, 8589934646, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', 1736154022000000, 55, '{"number":11,"log":["ask"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 56, 'calling', 6, 8589934647, '{"annotations":{"stepflow.attempt":"2","stepflow.error":"{\"type\": \"OSError\", \"message\": \"no call for order 5: \\u201cStra\\u00dfe\\u201d [in step call.v1/call]\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nOSError: no call for order 5: \\u201cStra\\u00dfe\\u201d\\nin step call.v1/call\\n\"}","stepflow.state":"[\"start:call.v1\"]","stepflow.waiting":"delay"},"to":"call.v1"}', '{}', '{}', 1736154022000000, 6, NULL, 1),
	('/1', 57, 'cancelled', 5, 8589934648, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.status":"cancelled"},"to":""}', '{}', '{}', 1736154022000000, 5, NULL, 1),
	('/0', 58, 'letter', 0, 8589934653, '{"annotations":{"state":"written"},"to":""}', '{"customer":"ada"}', '{"flowstate.data.body":"1","flowstate.data.photo":"2","subject":"Hello\n“Ada”"}', 1736154022000000, 58, 'null', 1),
	('/0', 59, 'letter', 58, 8589934654, '{"annotations":{"state":"corrected"},"to":""}', '{"customer":"ädä","urgent":"yes"}', '{"flowstate.data.body":"3","flowstate.data.photo":"2","subject":"Hello\n“Ada”"}', 1736154022000000, 58, NULL, 1),
	('/2', 60, 'fired', 0, 8589934655, '{"annotations":{},"to":""}', '{"kind":"fired"}', '{}', 1736154022000000, 60, 'null', 1),
	('/2', 61, 'delayed', 0, 8589934656, '{"annotations":{},"to":""}', '{"kind":"delayed"}', '{}', 1736154022000000, 61, 'null', 1),
	('/1', 62, 'void', 0, 8589934657, '{"annotations":{},"to":""}', '{"kind":"void"}', '{}', 1736154022000000, 62, 'null', 1),
	('/1', 63, 'void', 62, 8589934658, '{"annotations":{"state":"moved on"},"to":""}', '{"kind":"void"}', '{}', 1736154022000000, 62, NULL, 1),
	('/2', 64, 'snapshot', 0, 8589934659, '{"annotations":{},"to":""}', '{"kind":"snapshot"}', '{}', 1736154022000000, 64, 'null', 1),
	('/2', 65, 'snapshot', 64, 8589934660, '{"annotations":{"text":"now"},"to":""}', '{"kind":"snapshot"}', '{}', 1736154022000000, 64, NULL, 1),
	('/0', 66, 'hand-delayed', 0, 8589934661, '{"annotations":{},"to":""}', '{"kind":"hand-delayed"}', '{}', 1736154022000000, 66, 'null', 1),
	('/2', 67, 'hand-snapshot', 0, 8589934662, '{"annotations":{},"to":""}', '{"kind":"hand-snapshot"}', '{}', 1736154022000000, 67, 'null', 1),
	('/0', 68, 'caller of question', 0, 8589934663, '{"annotations":{"state":"stacked"},"to":""}', '{"kind":"caller"}', '{"since":"then"}', 1736154022000000, 68, 'null', 1),
	('/1', 69, 'question', 0, 8589934663, '{"annotations":{},"to":""}', '{}', '{"caller":"ClAKEmNhbGxlciBvZiBxdWVzdGlvbhBEGg0KBXNpbmNlEgR0aGVuIg4KBGtpbmQSBmNhbGxlcijwgODWwzIyEhoQCgVzdGF0ZRIHc3RhY2tlZBJQChJjYWxsZXIgb2YgcXVlc3Rpb24QRBoNCgVzaW5jZRIEdGhlbiIOCgRraW5kEgZjYWxsZXIo8IDg1sMyMhIaEAoFc3RhdGUSB3N0YWNrZWQ="}', 1736154022000000, 69, 'null', 1),
	('/1', 70, 'caller of question-data', 0, 8589934664, '{"annotations":{"state":"asks"},"to":""}', '{"kind":"caller"}', '{"flowstate.data.form":"4","since":"then"}', 1736154022000000, 70, 'null', 1),
	('/1', 71, 'caller of question-data', 70, 8589934665, '{"annotations":{"state":"stacked"},"to":""}', '{"kind":"caller"}', '{"flowstate.data.form":"4","since":"then"}', 1736154022000000, 70, NULL, 1),
	('/0', 72, 'question-data', 0, 8589934665, '{"annotations":{},"to":""}', '{}', '{"caller":"Cm8KF2NhbGxlciBvZiBxdWVzdGlvbi1kYXRhEEcaGAoTZmxvd3N0YXRlLmRhdGEuZm9ybRIBNBoNCgVzaW5jZRIEdGhlbiIOCgRraW5kEgZjYWxsZXIo8IDg1sMyMhIaEAoFc3RhdGUSB3N0YWNrZWQSbwoXY2FsbGVyIG9mIHF1ZXN0aW9uLWRhdGEQRxoYChNmbG93c3RhdGUuZGF0YS5mb3JtEgE0Gg0KBXNpbmNlEgR0aGVuIg4KBGtpbmQSBmNhbGxlcijwgODWwzIyEhoQCgVzdGF0ZRIHc3RhY2tlZCJLCgRmb3JtEkMQBCIEQVA4PSoOCgZiaW5hcnkSBHRydWUqKQoRY2hlY2tzdW0veHhoYXNoNjQSFDE2MjAyMTE5MjM0ODcyMDg5OTgx"}', 1736154022000000, 72, 'null', 1),
	('/2', 73, 'mail-later', 0, 8589934666, '{"annotations":{},"to":""}', '{}', '{"flowstate.recovery.max_attempts":"9","flowstate.recovery.retry_after":"1h30m"}', 1736154022000000, 73, 'null', 1),
	('/0', 74, 'mail-failed', 0, 8589934668, '{"annotations":{},"to":""}', '{}', '{"flowstate.recovery.max_attempts":"1"}', 1736154022000000, 74, 'null', 1),
	('/1', 75, 'mail-alone', 0, 8589934670, '{"annotations":{},"to":""}', '{}', '{"flowstate.recovery.enabled":"false"}', 1736154022000000, 75, 'null', 1),
	('/1', 76, 'half-signed', 16, 8589934672, '{"annotations":{"stepflow.state":"[\"completed:signature.v1/firstWaitEvent\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', 1736154022000000, 76, '{"number":14,"log":["Ada at 2025-01-06T08:30:00+00:00"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 77, 'mail-alone', 75, 8589934673, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.enabled":"false"}', 1736154082000000, 75, NULL, 1),
	('/0', 78, 'mail-failed', 74, 8589934674, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"1"}', 1736154082000000, 74, NULL, 1),
	('/0', 79, 'mail-failed', 78, 8589934675, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail-failed\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail-failed\\n\"}","stepflow.flow":"mail.v1","stepflow.status":"failed"},"to":""}', '{}', '{"flowstate.recovery.max_attempts":"1"}', 1736154082000000, 74, NULL, 1),
	('/2', 80, 'mail-later', 73, 8589934676, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"9","flowstate.recovery.retry_after":"1h30m"}', 1736154082000000, 73, NULL, 1),
	('/2', 81, 'mail-later', 80, 8589934677, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00","flowstate.recovery.attempt":"1","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail-later\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail-later\\n\"}","stepflow.waiting":"delay"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"9","flowstate.recovery.retry_after":"1h30m"}', 1736154082000000, 73, NULL, 1),
	('/2', 82, 'fired', 60, 8589934678, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"moved.v1"}', '{"kind":"fired"}', '{}', 1736154082000000, 60, NULL, 1),
	('/2', 83, 'fired', 82, 8589934679, '{"annotations":{"labelled":"1","state":"executed"},"to":""}', '{"kind":"fired"}', '{}', 1736154082000000, 60, NULL, 1),
	('/1', 84, 'polling', 48, 8589934680, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:build.v1/readyWaitFor\"]","stepflow.waiting":"poll"},"to":"build.v1"}', '{}', '{}', 1736154082000000, 84, '{"number":8,"log":[],"looks":2,"note":"","address":null,"placed":null}', 1),
	('/0', 85, 'priced', 49, 8589934681, '{"annotations":{"stepflow.state":"[\"start:price.v1/openingWaitFor\"]","stepflow.waiting":"poll"},"to":"price.v1"}', '{}', '{}', 1736154082000000, 85, '{"number":15,"log":[],"looks":2,"note":"","address":null,"placed":null}', 1),
	('/1', 86, 'queued', 0, 12884901889, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154082000000, 86, '{"number":30,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 87, 'urgent', 0, 12884901890, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{"tenant":"acme"}', '{}', 1736154082000000, 87, '{"number":31,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 88, 'later', 0, 12884901891, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154082000000, 88, '{"number":32,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 89, 'alarm', 0, 12884901892, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154082000000, 89, '{"number":33,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 90, 'killed-in-one', 0, 12884901893, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 90, '{"number":34,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/2', 91, 'killed-in-two', 0, 12884901894, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{"tenant":"acme"}', '{}', 1736154082000000, 91, '{"number":35,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 92, 'killed-printing', 0, 12884901895, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 92, '{"number":36,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 93, 'killed-cancelled', 0, 12884901896, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 93, '{"number":37,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 94, 'hand', 0, 12884901897, '{"annotations":{},"to":"hand.v1"}', '{}', '{}', 1736154082000000, 94, 'null', 1),
	('/2', 95, 'moved', 0, 12884901899, '{"annotations":{"by":"a client"},"to":"moved.v1"}', '{"kind":"moved","other":"label"}', '{}', 1736154082000000, 95, 'null', 1),
	('tenant-b/0', 96, 'unsigned', 0, 17179869185, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{"tenant":"b"}', '{}', 1736154082000000, 96, '{"number":40,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('tenant-b/0', 97, 'completed', 0, 17179869186, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{"tenant":"b"}', '{}', 1736154082000000, 97, '{"number":41,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1),
	('tenant-b/0', 98, 'completed', 97, 17179869187, '{"annotations":{"stepflow.state":"[\"completed:order.v1/charge\"]"},"to":"order.v1"}', '{"tenant":"b"}', '{}', 1736154082000000, 98, '{"number":41,"log":["charge"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('tenant-b/0', 99, 'completed', 98, 17179869188, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"tenant":"b"}', '{}', 1736154082000000, 99, '{"number":41,"log":["charge","ship"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('tenant-b/1', 100, 'queued', 0, 17179869189, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', 1736154082000000, 100, '{"number":42,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1);
INSERT INTO stepflow.history VALUES
	('tenant-b/0', 101, 'letter', 0, 17179869190, '{"annotations":{},"to":""}', '{"customer":"bob"}', '{"flowstate.data.body":"1"}', 1736154082000000, 101, 'null', 1),
	('/0', 102, 'hand-delayed', 66, 21474836481, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"hand.v1"}', '{"kind":"hand-delayed"}', '{}', 1736154082000000, 66, NULL, 1),
	('/2', 103, 'killed-in-two', 91, 21474836482, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{"tenant":"acme"}', '{}', 1736154082000000, 103, '{"number":35,"log":["one"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 104, 'killed-printing', 92, 21474836483, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 104, '{"number":36,"log":["one"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/0', 105, 'killed-cancelled', 93, 21474836484, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 105, '{"number":37,"log":["one"],"looks":0,"note":"","address":null,"placed":null}', 1),
	('/1', 106, 'kept', 0, 25769803777, '{"annotations":{"by":"its owner"},"to":"moved.v1"}', '{"kind":"kept"}', '{}', 1736154082000000, 106, 'null', 1),
	('/2', 107, 'behind-printing', 0, 25769803779, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', 1736154082000000, 107, '{"number":38,"log":[],"looks":0,"note":"","address":null,"placed":null}', 1);


--
-- Data for Name: inbox; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.inbox VALUES
	('/2', 1, '{"writes": [{"id": "posted", "transition": "{\"annotations\":{\"stepflow.state\":\"[\\\"start:order.v1\\\"]\"},\"to\":\"order.v1\"}", "labels": {"tenant": "acme"}, "annotations": {}, "exchange": "{\"number\":50,\"log\":[],\"looks\":0,\"note\":\"\",\"address\":null,\"placed\":null}", "born": ["order.v1", "ca2a47f2f302fd3b168365ce39fef0c905674b14a0a67ffff53d7b5d704a3531", 1736154082000000]}], "queue": [["posted", "order.v1", 1736154082000000, 0, false, ""]], "publish": []}', 1),
	('/0', 2, '{"writes": [], "queue": [], "publish": [["unapproved", "order.approved", "posted-1", "\"posted\"", 1736154082000000]]}', 1);


--
-- Data for Name: labels; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.labels VALUES
	('/0', '["tenant", "acme"]', 'completed'),
	('/2', '["city", "Köln"]', 'a/b c?d%e#ü'),
	('/0', '["tenant", "acme"]', 'failed'),
	('/1', '["kind", "offer"]', 'offer'),
	('/0', '["customer", "ädä"]', 'letter'),
	('/0', '["urgent", "yes"]', 'letter'),
	('/2', '["kind", "fired"]', 'fired'),
	('/2', '["kind", "delayed"]', 'delayed'),
	('/1', '["kind", "void"]', 'void'),
	('/2', '["kind", "snapshot"]', 'snapshot'),
	('/0', '["kind", "hand-delayed"]', 'hand-delayed'),
	('/2', '["kind", "hand-snapshot"]', 'hand-snapshot'),
	('/0', '["kind", "caller"]', 'caller of question'),
	('/1', '["kind", "caller"]', 'caller of question-data'),
	('/0', '["tenant", "acme"]', 'urgent'),
	('/2', '["tenant", "acme"]', 'killed-in-two'),
	('/2', '["kind", "moved"]', 'moved'),
	('/2', '["other", "label"]', 'moved'),
	('tenant-b/0', '["tenant", "b"]', 'unsigned'),
	('tenant-b/0', '["tenant", "b"]', 'completed'),
	('tenant-b/0', '["customer", "bob"]', 'letter'),
	('/1', '["kind", "kept"]', 'kept');


--
-- Data for Name: meta; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.meta VALUES
	('schema', 5),
	('shards', 3),
	('store', 555713476976370);


--
-- Data for Name: once; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.once VALUES
	('/0', 'order.v1alarm', 'alarm', 1738746082000000);


--
-- Data for Name: owners; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.owners VALUES
	('/0', 'shop-1:14960:7f43b3677e63', 'shop-1', 14960, 1, true, '[]'),
	('/0', 'shop-1:15015:1f9e5189edbd', 'shop-1', 15015, 0, true, '[]');


--
-- Data for Name: queue; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.queue VALUES
	('crashes/1', 'suspect', 'killed.v1', 1736154022000000, 2, '', 1, 0, 2, false, '', '', ''),
	('/0', 'api-2', 'order.v1', 1736154022000000, 4, '', 0, 0, 0, false, '', '', '[["api", null, 2, 86400000000], ["tenant/acme", 5]]'),
	('/0', 'approval', 'approval.v1', 1736413222000000, 0, '', 12, 0, 0, false, '', '', ''),
	('/2', 'exhausted', 'upload.v1', 1736154622000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'expired', 'approval.v1', 1736413222000000, 0, '', 14, 0, 0, false, '', '', ''),
	('/1', 'mail', 'mail.v1', 1736154622000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'never', 'never.v1', 1736175622000000, 0, '', 11, 0, 0, false, '', '', ''),
	('/1', 'offer1', 'offer.v1', 1737363622000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'retrying', 'upload.v1', 1736154622000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'unapproved', 'approval.v1', 1736413222000000, 0, '', 13, 0, 0, false, '', '', ''),
	('/1', 'calling', 'call.v1', 1736154622000000, 0, '', 0, 3, 0, false, '', '', ''),
	('/2', 'delayed3', 'moved.v1', 1736758822000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/1', 'void4', 'moved.v1', 1736758822000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/2', 'snapshot5', 'remind.v1', 1736326822000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/2', 'mail-later', 'mail.v1', 1736159482000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/1', 'polling', 'build.v1', 1736154142000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'priced', 'price.v1', 1736154142000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/0', 'blocked', 'shape.v1', 1736154112000000, 2, '', 32, 0, 0, false, '''completed:shape.v1/cut'' is no position of shape.v1; the nearest known one is ''completed:shape.v1''. Was a step renamed or removed, or does it belong to another flow?', '57cf9e182e68310fb1c4b3faf42742bcabf851c1bedce2ccee139d4caaa40b0d', ''),
	('/1', 'queued', 'order.v1', 1736154082000000, 1, '', 0, 5, 0, false, '', '', ''),
	('/0', 'urgent', 'order.v1', 1736154082000000, 1, '', 0, -10, 0, false, '', '', ''),
	('/0', 'later', 'order.v1', 1736413282000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/2', 'alarm', 'order.v1', 1736154082000000, 1, '', 0, 0, 0, false, '', '', ''),
	('/0', 'killed-in-one', 'killed.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 90, 0, 0, false, '', '', ''),
	('/2', 'killed-in-two', 'killed.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 91, 0, 0, false, '', '', ''),
	('/2', 'hand-snapshot7', 'hand.v1', 1736154052000000, 3, 'shop-1:14960:7f43b3677e63', 67, 0, 0, false, '', '', ''),
	('/2', 'moved', 'moved.v1', 1736154082000000, 1, '', 95, 0, 0, false, '', '', ''),
	('tenant-b/1', 'queued', 'order.v1', 1736154082000000, 1, '', 0, 0, 0, false, '', '', ''),
	('tenant-b/0', 'letter1', 'moved.v1', 1736157682000000, 0, '', 0, 0, 0, false, '', '', ''),
	('/1', 'hand', 'hand.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 94, 0, 0, false, '', '', ''),
	('/0', 'killed-printing', 'killed.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 92, 0, 0, false, '', '', '[["printer", 1]]'),
	('/0', 'hand-delayed', 'hand.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 102, 0, 0, false, '', '', ''),
	('/1', 'kept', 'moved.v1', 1736154082000000, 3, 'shop-1:15015:1f9e5189edbd', 106, 0, 0, false, '', '', ''),
	('/0', 'killed-cancelled', 'killed.v1', 1736154082000000, 3, 'shop-1:14960:7f43b3677e63', 93, 0, 0, true, '', '', ''),
	('/2', 'behind-printing', 'killed.v1', 1736154082000000, 4, '', 0, 0, 0, false, '', '', '[["printer", 1]]');


--
-- Data for Name: states; Type: TABLE DATA; Schema: stepflow; Owner: -
--

INSERT INTO stepflow.states VALUES
	('/0', 'completed', 34, NULL, 'order.v1', 'c9bd87f679a4c54acd8aa4603ae8f8588442a8fc9d4a62b10f1aee53fc3a27d3', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"tenant":"acme"}', '{}', 'completed', '', 1736154022000000, 34, 0, 1, NULL, ''),
	('/2', 'a/b c?d%e#ü', 26, NULL, 'order.v1', 'd43ca7cfa10f586f883377467976184b88f2370a1a1f9d7a7a51d81a0dab41b4', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"city":"Köln"}', '{}', 'completed', '', 1736154022000000, 26, 0, 1, NULL, ''),
	('crashes/1', 'suspect', 1, 5, 'killed.v1', '6b1c265dfaa740fccbcdfcb05e630e125eaf0618107729db3e8e57bb0eb98eab', 1736154000000000, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', '', '', 1736154000000000, 1, 0, 1, NULL, ''),
	('/2', 'exhausted', 37, 38, 'upload.v1', '7c445349efd10252e224efce9091e1394c7f442a1737c4d0732f9ac6f901bba7', 1736154022000000, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no upload for order 13: \\u201cStra\\u00dfe\\u201d\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nConnectionError: no upload for order 13: \\u201cStra\\u00dfe\\u201d\\n\"}","stepflow.state":"[\"start:upload.v1/netRetry\",\"attempt:2:upload.v1/netRetry\"]","stepflow.waiting":"delay"},"to":"upload.v1"}', '{}', '{}', '', 'delay', 1736154022000000, 36, 0, 1, NULL, ''),
	('/0', 'approval', 31, 33, 'approval.v1', '78640cd84108f2335d139b4e99e56b9926cfa3afb646f3fb0a9f839363bb2933', 1736154022000000, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', '', 'event:order.approved', 1736154022000000, 31, 0, 1, NULL, ''),
	('/0', 'never', 11, 47, 'never.v1', '427b26525b545e2e2691be9462e7b25ae60bee1ca86960d5b3ba93131a95abe2', 1736154022000000, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:never.v1\"]","stepflow.waiting":"poll"},"to":"never.v1"}', '{}', '{}', '', 'poll', 1736154022000000, 11, 0, 1, NULL, ''),
	('/0', 'failed', 40, NULL, 'strict.v1', 'b10faebab83cfeb34bfb9e0fdff88054b5662a4c0b6a01c0fee4e38885dc8a97', 1736154022000000, '{"annotations":{"stepflow.error":"{\"type\": \"ValueError\", \"message\": \"no address for order 3: \\u201cStra\\u00dfe\\u201d [in step strict.v1/check]\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nValueError: no address for order 3: \\u201cStra\\u00dfe\\u201d\\nin step strict.v1/check\\n\"}","stepflow.state":"[\"completed:strict.v1/first\"]","stepflow.status":"failed"},"to":""}', '{"tenant":"acme"}', '{}', 'failed', '', 1736154022000000, 39, 0, 1, NULL, ''),
	('/0', 'retrying', 52, 55, 'upload.v1', 'eaf20cb977394ac089d7f74f8244c1b37d0f2c64d034c3b24726ee9fd78f7630', 1736154022000000, '{"annotations":{"stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no upload for order 6: \\u201cStra\\u00dfe\\u201d\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nConnectionError: no upload for order 6: \\u201cStra\\u00dfe\\u201d\\n\"}","stepflow.state":"[\"start:upload.v1/netRetry\",\"attempt:2:upload.v1/netRetry\"]","stepflow.waiting":"delay"},"to":"upload.v1"}', '{}', '{}', '', 'delay', 1736154022000000, 51, 0, 1, NULL, ''),
	('/2', 'server', 54, NULL, 'server.v1', '1bd100ac70001bd61cbdc55406d9a0adc23c22bbde375761288fbe291965b1fa', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:server.v1/serversRetry/connect\"]","stepflow.waiting":"event:server.ready"},"to":"server.v1"}', '{}', '{}', '', 'event:server.ready', 1736154022000000, 53, 0, 1, NULL, ''),
	('/1', 'calling', 56, 61, 'call.v1', '5d2cc830e679a1a37cffbf42d87549ea1ca8e79583a6699a42c06601e5948e25', 1736154022000000, '{"annotations":{"stepflow.attempt":"2","stepflow.error":"{\"type\": \"OSError\", \"message\": \"no call for order 5: \\u201cStra\\u00dfe\\u201d [in step call.v1/call]\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 56, in step\\n    raise error(f\\\"no {text} for order {order.number}: \\u201cStra\\u00dfe\\u201d\\\")\\nOSError: no call for order 5: \\u201cStra\\u00dfe\\u201d\\nin step call.v1/call\\n\"}","stepflow.state":"[\"start:call.v1\"]","stepflow.waiting":"delay"},"to":"call.v1"}', '{}', '{}', '', 'delay', 1736154022000000, 6, 3, 1, NULL, ''),
	('/1', 'cancelled', 57, NULL, 'signature.v1', '2eca4c4e2c07d84e1e807b92ab771fca40a747cd7e9ed097b63d371fbc4c4f6c', 1736154022000000, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.status":"cancelled"},"to":""}', '{}', '{}', 'cancelled', '', 1736154022000000, 5, 0, 1, NULL, ''),
	('/1', 'polling', 84, 83, 'build.v1', '173f9a8c0b03b7469694493d62b947f4a4c387090adcd475fe97478ba51979cd', 1736154022000000, '{"annotations":{"stepflow.deadline":"1736240422000000","stepflow.state":"[\"start:build.v1/readyWaitFor\"]","stepflow.waiting":"poll"},"to":"build.v1"}', '{}', '{}', '', 'poll', 1736154082000000, 84, 0, 1, NULL, ''),
	('/0', 'api-2', 22, 26, 'order.v1', '59a9d43f6c32c5f1371b9b1ab40915297f71e32641316302151e5410c130342f', 1736154022000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', '', '', 1736154022000000, 22, 0, 1, NULL, '[["tenant/acme", 5]]'),
	('/0', 'api-1', 30, NULL, 'order.v1', 'a2c8447753ac4c6bbdc7ac6cb84bed473b73cd37db0403b0ae4abce872b84c36', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{}', '{}', 'completed', '', 1736154022000000, 30, 0, 1, NULL, '[["tenant/acme", 5]]'),
	('/2', 'api-0', 28, NULL, 'order.v1', '71b0280b81fc77e9aad892a3d87c920381e4010d4718ff33acdbcb239a60c23d', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{}', '{}', 'completed', '', 1736154022000000, 28, 0, 1, NULL, '[["tenant/acme", 5]]'),
	('/0', 'expired', 38, 40, 'approval.v1', '01f9097ec66882d662a7e652ae42445dd8adc7d5a7a97fad4025660b0e6f5158', 1736154022000000, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', '', 'event:order.approved', 1736154022000000, 38, 0, 1, NULL, ''),
	('/1', 'mail', 46, 45, 'mail.v1', '74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b', 1736154022000000, '{"annotations":{"flowstate.recovery.attempt":"1","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail\\n\"}","stepflow.waiting":"delay"},"to":"mail.v1"}', '{}', '{}', '', 'delay', 1736154022000000, 24, 0, 1, NULL, ''),
	('/1', 'looping', 45, NULL, 'loop.v1', 'af1e8c166ecbab64d3502b8d005a643dc2c7319941fff2240f2d8119782d145c', 1736154022000000, '{"annotations":{"stepflow.state":"[\"start:loop.v1/roundsLoopUntil/steps/secondCase/steps\"]","stepflow.waiting":"event:next"},"to":"loop.v1"}', '{}', '{}', '', 'event:next', 1736154022000000, 44, 0, 1, NULL, ''),
	('/1', 'offer', 47, NULL, 'offer.v1', '74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b', 1736154022000000, '{"annotations":{"state":"sent"},"to":""}', '{"kind":"offer"}', '{}', '', '', 1736154022000000, 23, 0, 1, NULL, ''),
	('/0', 'unapproved', 55, 58, 'approval.v1', 'da8303de8b04bd12b0fa645f3724545c8a060191f0bf83e974fc413172881e26', 1736154022000000, '{"annotations":{"stepflow.deadline":"1736413222000000","stepflow.state":"[\"completed:approval.v1/ask\"]","stepflow.waiting":"event:order.approved"},"to":"approval.v1"}', '{}', '{}', '', 'event:order.approved', 1736154022000000, 55, 0, 1, NULL, ''),
	('/0', 'unsigned', 15, NULL, 'signature.v1', '76ee534bd590af140986cfa136489005e312730a205c4489eccf9781a63bc948', 1736154022000000, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', '', 'event:signed', 1736154022000000, 15, 0, 1, NULL, ''),
	('/1', 'half-signed', 76, NULL, 'signature.v1', '022428bf9c5b13ed4db7a3f96f310eb2df07caed0289f42d93bf5b8c79558b06', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:signature.v1/firstWaitEvent\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{}', '{}', '', 'event:signed', 1736154022000000, 76, 0, 1, NULL, ''),
	('/0', 'blocked', 32, 88, 'shape.v1', '3da1bb8bca14d03097a13152af1a212ca34061868b42909b54a24229a982a312', 1736154022000000, '{"annotations":{"stepflow.state":"[\"completed:shape.v1/cut\"]","stepflow.waiting":"event:go"},"to":"shape.v1"}', '{}', '{}', '', 'event:go', 1736154022000000, 32, 0, 1, NULL, ''),
	('/0', 'priced', 85, 85, 'price.v1', '274145acfc8a387a46ffa02e4eff2508d7818486457b62a8ee44009df6b90a97', 1736154022000000, '{"annotations":{"stepflow.state":"[\"start:price.v1/openingWaitFor\"]","stepflow.waiting":"poll"},"to":"price.v1"}', '{}', '{}', '', 'poll', 1736154082000000, 85, 0, 1, NULL, ''),
	('/1', 'offer1', 47, 49, 'offer.v1', '', 0, '{"annotations":{"flowstate.delay.until":"2025-01-20T09:00:22+00:00","why":"too late"},"to":"offer.v1"}', '{}', '{}', '', '', 1736154022000000, 23, 0, 1, 1, ''),
	('/0', 'letter', 59, NULL, '', '', 1736154022000000, '{"annotations":{"state":"corrected"},"to":""}', '{"customer":"ädä","urgent":"yes"}', '{"flowstate.data.body":"3","flowstate.data.photo":"2","subject":"Hello\n“Ada”"}', '', '', 1736154022000000, 58, 0, 1, NULL, ''),
	('/2', 'delayed', 61, NULL, '', '', 1736154022000000, '{"annotations":{},"to":""}', '{"kind":"delayed"}', '{}', '', '', 1736154022000000, 61, 0, 1, NULL, ''),
	('/2', 'delayed3', 61, 64, 'moved.v1', '', 0, '{"annotations":{"flowstate.delay.until":"2025-01-13T09:00:22+00:00","why":"a week"},"to":"moved.v1"}', '{}', '{}', '', '', 1736154022000000, 61, 0, 1, 3, ''),
	('/1', 'void4', 62, 65, 'moved.v1', '', 0, '{"annotations":{"flowstate.delay.until":"2025-01-13T09:00:22+00:00"},"to":"moved.v1"}', '{}', '{}', '', '', 1736154022000000, 62, 0, 1, 4, ''),
	('/2', 'fired', 83, NULL, '', '', 1736154022000000, '{"annotations":{"labelled":"1","state":"executed"},"to":""}', '{"kind":"fired"}', '{}', '', '', 1736154082000000, 60, 0, 1, NULL, ''),
	('/1', 'void', 63, NULL, '', '', 1736154022000000, '{"annotations":{"state":"moved on"},"to":""}', '{"kind":"void"}', '{}', '', '', 1736154022000000, 62, 0, 1, NULL, ''),
	('/2', 'snapshot5', 64, 66, 'remind.v1', '', 0, '{"annotations":{"flowstate.delay.commit":"false","flowstate.delay.until":"2025-01-08T09:00:22+00:00","text":"then"},"to":"remind.v1"}', '{}', '{}', '', '', 1736154022000000, 64, 0, 1, 5, ''),
	('/2', 'snapshot', 65, NULL, '', '', 1736154022000000, '{"annotations":{"text":"now"},"to":""}', '{"kind":"snapshot"}', '{}', '', '', 1736154022000000, 64, 0, 1, NULL, ''),
	('/0', 'hand-delayed', 102, 113, '', '', 1736154022000000, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"hand.v1"}', '{"kind":"hand-delayed"}', '{}', '', '', 1736154082000000, 66, 0, 1, NULL, ''),
	('/2', 'hand-snapshot', 67, NULL, '', '', 1736154022000000, '{"annotations":{},"to":""}', '{"kind":"hand-snapshot"}', '{}', '', '', 1736154022000000, 67, 0, 1, NULL, ''),
	('/0', 'caller of question', 68, NULL, '', '', 1736154022000000, '{"annotations":{"state":"stacked"},"to":""}', '{"kind":"caller"}', '{"since":"then"}', '', '', 1736154022000000, 68, 0, 1, NULL, ''),
	('/1', 'question', 69, NULL, '', '', 1736154022000000, '{"annotations":{},"to":""}', '{}', '{"caller":"ClAKEmNhbGxlciBvZiBxdWVzdGlvbhBEGg0KBXNpbmNlEgR0aGVuIg4KBGtpbmQSBmNhbGxlcijwgODWwzIyEhoQCgVzdGF0ZRIHc3RhY2tlZBJQChJjYWxsZXIgb2YgcXVlc3Rpb24QRBoNCgVzaW5jZRIEdGhlbiIOCgRraW5kEgZjYWxsZXIo8IDg1sMyMhIaEAoFc3RhdGUSB3N0YWNrZWQ="}', '', '', 1736154022000000, 69, 0, 1, NULL, ''),
	('/0', 'question-data', 72, NULL, '', '', 1736154022000000, '{"annotations":{},"to":""}', '{}', '{"caller":"Cm8KF2NhbGxlciBvZiBxdWVzdGlvbi1kYXRhEEcaGAoTZmxvd3N0YXRlLmRhdGEuZm9ybRIBNBoNCgVzaW5jZRIEdGhlbiIOCgRraW5kEgZjYWxsZXIo8IDg1sMyMhIaEAoFc3RhdGUSB3N0YWNrZWQSbwoXY2FsbGVyIG9mIHF1ZXN0aW9uLWRhdGEQRxoYChNmbG93c3RhdGUuZGF0YS5mb3JtEgE0Gg0KBXNpbmNlEgR0aGVuIg4KBGtpbmQSBmNhbGxlcijwgODWwzIyEhoQCgVzdGF0ZRIHc3RhY2tlZCJLCgRmb3JtEkMQBCIEQVA4PSoOCgZiaW5hcnkSBHRydWUqKQoRY2hlY2tzdW0veHhoYXNoNjQSFDE2MjAyMTE5MjM0ODcyMDg5OTgx"}', '', '', 1736154022000000, 72, 0, 1, NULL, ''),
	('/1', 'caller of question-data', 71, NULL, '', '', 1736154022000000, '{"annotations":{"state":"stacked"},"to":""}', '{"kind":"caller"}', '{"flowstate.data.form":"4","since":"then"}', '', '', 1736154022000000, 70, 0, 1, NULL, ''),
	('/1', 'queued', 86, 89, 'order.v1', 'ba83bf181092f7bc2b1faa86b69ee755ba38e3b3cf4168375712fdec7723c4e2', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', '', '', 1736154082000000, 86, 5, 1, NULL, ''),
	('/0', 'mail-failed', 79, NULL, '', '', 1736154022000000, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail-failed\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail-failed\\n\"}","stepflow.flow":"mail.v1","stepflow.status":"failed"},"to":""}', '{}', '{"flowstate.recovery.max_attempts":"1"}', 'failed', '', 1736154082000000, 74, 0, 1, NULL, ''),
	('/0', 'urgent', 87, 90, 'order.v1', '253ee2d2923266c97d1d886d3dfa316d768f8a6fe618ddd470ae25c4a05301f6', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{"tenant":"acme"}', '{}', '', '', 1736154082000000, 87, -10, 1, NULL, ''),
	('/0', 'later', 88, 91, 'order.v1', '81c05a4ca897e26e12e927256d11b7fa6bbf96438d6e9b202e47b848d7384c2f', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', '', '', 1736154082000000, 88, 0, 1, NULL, ''),
	('/1', 'mail-alone', 77, NULL, '', '', 1736154022000000, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.enabled":"false"}', '', '', 1736154082000000, 75, 0, 1, NULL, ''),
	('/2', 'mail-later', 81, 79, '', '', 1736154022000000, '{"annotations":{"flowstate.delay.until":"2025-01-06T09:00:23+00:00","flowstate.recovery.attempt":"1","stepflow.error":"{\"type\": \"ConnectionError\", \"message\": \"no mail for mail-later\", \"traceback\": \"Traceback (most recent call last):\\n  File \\\"/srv/new/tests/compatibility/flows.py\\\", line 212, in mail\\n    raise ConnectionError(f\\\"no mail for {ctx.id}\\\")\\nConnectionError: no mail for mail-later\\n\"}","stepflow.waiting":"delay"},"to":"mail.v1"}', '{}', '{"flowstate.recovery.max_attempts":"9","flowstate.recovery.retry_after":"1h30m"}', '', 'delay', 1736154082000000, 73, 0, 1, NULL, ''),
	('/2', 'alarm', 89, 92, 'order.v1', 'dc2232689392baafdf04002099c92d4aa67e565e34274c02fa4adc764c4a0c06', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', '', '', 1736154082000000, 89, 0, 1, NULL, ''),
	('/2', 'hand-snapshot7', 67, 111, 'hand.v1', '', 0, '{"annotations":{"flowstate.delay.commit":"false","flowstate.delay.until":"2025-01-06T09:00:52+00:00"},"to":"hand.v1"}', '{}', '{}', '', '', 1736154022000000, 67, 0, 1, 7, ''),
	('/1', 'hand', 94, 109, 'hand.v1', '74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b', 1736154082000000, '{"annotations":{},"to":"hand.v1"}', '{}', '{}', '', '', 1736154082000000, 94, 0, 1, NULL, ''),
	('/2', 'moved', 95, 99, 'moved.v1', '', 1736154082000000, '{"annotations":{"by":"a client"},"to":"moved.v1"}', '{"kind":"moved","other":"label"}', '{}', '', '', 1736154082000000, 95, 0, 1, NULL, ''),
	('tenant-b/0', 'completed', 99, NULL, 'order.v1', 'a9c4fba710d36ceb9976c37e82efe2fc2926df40a04c6c3f39c3272327774b41', 1736154082000000, '{"annotations":{"stepflow.state":"[\"completed:order.v1\"]","stepflow.status":"completed"},"to":""}', '{"tenant":"b"}', '{}', 'completed', '', 1736154082000000, 99, 0, 1, NULL, ''),
	('/2', 'killed-in-two', 103, 110, 'killed.v1', 'ef00225b8e3d34508c3c2f9570efb1ad8a428c0562b33037cea719465fbc0609', 1736154082000000, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{"tenant":"acme"}', '{}', '', '', 1736154082000000, 103, 0, 1, NULL, ''),
	('tenant-b/0', 'unsigned', 96, NULL, 'signature.v1', '7beded3e0cf0a461117d1ea2dafd8120315a039e8cae5fca8607537bde39653f', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:signature.v1\"]","stepflow.waiting":"event:signed"},"to":"signature.v1"}', '{"tenant":"b"}', '{}', '', 'event:signed', 1736154082000000, 96, 0, 1, NULL, ''),
	('tenant-b/1', 'queued', 100, 104, 'order.v1', '5f8a57a01ffcf921b63c0660345365ef213185b4ba6df47892c4f4e7ff1998c2', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:order.v1\"]"},"to":"order.v1"}', '{}', '{}', '', '', 1736154082000000, 100, 0, 1, NULL, ''),
	('/0', 'killed-in-one', 90, 107, 'killed.v1', '54a2bf9f631acc660e578568251cc178853511c675339f139b121b4d194bad55', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', '', '', 1736154082000000, 90, 0, 1, NULL, ''),
	('/0', 'killed-printing', 104, 112, 'killed.v1', '49855a13d0b644045d10f360ddfcdea1b965f80fd36bc7b57a7fd7c046bfa7fc', 1736154082000000, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{}', '{}', '', '', 1736154082000000, 104, 0, 1, NULL, '[["printer", 1]]'),
	('/0', 'killed-cancelled', 105, 106, 'killed.v1', 'a589d37b9133f8a2c46c184b783f45954c62bf22a95c4785671ff3bed5222477', 1736154082000000, '{"annotations":{"stepflow.state":"[\"completed:killed.v1/one\"]"},"to":"killed.v1"}', '{}', '{}', '', '', 1736154082000000, 105, 0, 1, NULL, ''),
	('tenant-b/0', 'letter', 101, NULL, '', '', 1736154082000000, '{"annotations":{},"to":""}', '{"customer":"bob"}', '{"flowstate.data.body":"1"}', '', '', 1736154082000000, 101, 0, 1, NULL, ''),
	('tenant-b/0', 'letter1', 101, 105, 'moved.v1', '', 0, '{"annotations":{"flowstate.delay.until":"2025-01-06T10:01:22+00:00"},"to":"moved.v1"}', '{}', '{}', '', '', 1736154082000000, 101, 0, 1, 1, ''),
	('/1', 'kept', 106, 114, 'moved.v1', '', 1736154082000000, '{"annotations":{"by":"its owner"},"to":"moved.v1"}', '{"kind":"kept"}', '{}', '', '', 1736154082000000, 106, 0, 1, NULL, ''),
	('/2', 'behind-printing', 107, 115, 'killed.v1', '0061d1bd9b9cfaf71cf928d3be15013c6775123a685bbace15ab4636004eb821', 1736154082000000, '{"annotations":{"stepflow.state":"[\"start:killed.v1\"]"},"to":"killed.v1"}', '{}', '{}', '', '', 1736154082000000, 107, 0, 1, NULL, '[["printer", 1]]');


--
-- Name: epochs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.epochs', 115, true);


--
-- Name: posts; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.posts', 2, true);


--
-- Name: revs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.revs', 107, true);


--
-- Name: seqs; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.seqs', 6, true);


--
-- Name: sessions; Type: SEQUENCE SET; Schema: stepflow; Owner: -
--

SELECT pg_catalog.setval('stepflow.sessions', 6, true);


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
    ADD CONSTRAINT events_pkey PRIMARY KEY (shard, run_id, id);


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
-- Name: labels labels_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.labels
    ADD CONSTRAINT labels_pkey PRIMARY KEY (shard, label, id);


--
-- Name: meta meta_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);


--
-- Name: once once_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.once
    ADD CONSTRAINT once_pkey PRIMARY KEY (shard, key);


--
-- Name: owners owners_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.owners
    ADD CONSTRAINT owners_pkey PRIMARY KEY (shard, id);


--
-- Name: queue queue_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (shard, id);


--
-- Name: states states_pkey; Type: CONSTRAINT; Schema: stepflow; Owner: -
--

ALTER TABLE ONLY stepflow.states
    ADD CONSTRAINT states_pkey PRIMARY KEY (shard, id);


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
-- Name: queue_later; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_later ON stepflow.queue USING btree (shard, flow, due) WHERE (lane = 0);


--
-- Name: queue_limited; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_limited ON stepflow.queue USING btree (shard, flow, limits, priority, due, id) WHERE (lane = 4);


--
-- Name: queue_owned; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_owned ON stepflow.queue USING btree (shard, owner) WHERE (lane = 3);


--
-- Name: queue_ready; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_ready ON stepflow.queue USING btree (shard, flow, priority, due, id) WHERE (lane = 1);


--
-- Name: queue_sharing; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_sharing ON stepflow.queue USING btree (shard, limits, id) WHERE ((lane = 3) AND (limits <> ''::text));


--
-- Name: queue_special; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX queue_special ON stepflow.queue USING btree (shard, flow, blocked_by, due) WHERE (lane = 2);


--
-- Name: states_created; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_created ON stepflow.states USING btree (shard, created_at, id);


--
-- Name: states_ended; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_ended ON stepflow.states USING btree (shard, status, created_at, id) WHERE (status <> ''::text);


--
-- Name: states_waiting; Type: INDEX; Schema: stepflow; Owner: -
--

CREATE INDEX states_waiting ON stepflow.states USING btree (shard, flow) WHERE (waiting ~~ 'event:_%'::text);


--
-- PostgreSQL database dump complete
--


