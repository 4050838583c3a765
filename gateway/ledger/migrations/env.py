"""What Alembic executes: it works on the connection that `migrations.config` was given, and never opens one."""

from alembic import context

from gateway.ledger.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    # SQLite cannot change a column in place; a batch copies the table. On PostgreSQL it is a plain ALTER.
    render_as_batch=True,
    # One transaction, the caller's: a migration happens whole or not at all, on SQLite too.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
