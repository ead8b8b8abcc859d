"""Money transfer: one commit changes both accounts or none; a stale copy is refused, read again and retried."""

from stepflow import Engine, RevMismatch, StateCtx, commit, park


def balance(account: StateCtx) -> int:
    return int(account.annotations["balance"])


def add(account: StateCtx, amount: int) -> None:
    account.annotations["balance"] = str(balance(account) + amount)


def transfer(engine: Engine, source: StateCtx, target: StateCtx, amount: int) -> None:
    while True:
        payer, payee = source.copy(), target.copy()
        add(payer, -amount)
        add(payee, amount)
        try:
            engine.do(commit(park(payer), park(payee)))
            return
        except RevMismatch as error:
            print(error)
            source, target = engine.get_state(source.id), engine.get_state(target.id)


with Engine("memory://") as engine:
    ada, bob = (StateCtx(name, annotations={"balance": amount}) for name, amount in (("ada", "100"), ("bob", "50")))
    engine.do(commit(park(ada), park(bob)))

    salary = engine.get_state("ada")  # meanwhile, in another process
    add(salary, 50)
    engine.do(commit(park(salary)))

    transfer(engine, ada, bob, 30)
    print({name: balance(engine.get_state(name)) for name in ("ada", "bob")})
